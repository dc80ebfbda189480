"""The lines and events that a run writes, and what is left of them after a kill."""

import json
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cvjax.train import writer
from cvjax.train.writer import MetricWriter, keep_records, write_json


def events_in(folder: Path) -> list[Event]:
    """The events of the newest file: records of length, its checksum, data, its checksum."""
    path = max(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def records_in(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_flat_json_in_order_and_readable_at_once(tmp_path):
    metrics = MetricWriter(tmp_path, keep_until=None, tensorboard=False)
    metrics.write(5, {"train/loss": np.float32(0.5), "count": 3})
    assert records_in(tmp_path / "metrics.jsonl") == [{"step": 5, "train/loss": 0.5, "count": 3}]
    metrics.write(6, {"test/accuracy": 0.1})
    metrics.close()
    assert [record["step"] for record in records_in(tmp_path / "metrics.jsonl")] == [5, 6]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("keep_until", "kept"), [(None, []), (4, [2, 4]), (3, [2]), (9, [2, 4, 6])]
)
def test_restart_cuts_off_what_comes_after_the_checkpoint(keep_until, kept, tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": step, "x": 0.1 + step / 3, "text": "é"} for step in (2, 4, 6)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 8, "x"')
    metrics = MetricWriter(tmp_path, keep_until=keep_until, tensorboard=False)
    metrics.write(10, {"x": 1.0})
    metrics.close()
    expected = [line for line in lines if line["step"] in kept]  # to the last digit
    assert records_in(path) == [*expected, {"step": 10, "x": 1.0}]


def test_interrupted_cut_leaves_the_old_lines(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        keep_records(path, 1)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_tensorboard_gets_every_figure_and_hides_what_was_cut_off(tmp_path):
    metrics = MetricWriter(tmp_path, keep_until=None)
    metrics.write(3, {"train/loss": 0.25, "lr": 0.1})
    metrics.picture("seen", np.zeros((4, 5, 3), np.uint8), 3)
    metrics.close()
    found = [(e.step, v.tag, v.simple_value) for e in events_in(tmp_path / "events")
             for v in e.summary.value]  # fmt: skip
    assert found[:2] == [(3, "train/loss", 0.25), (3, "lr", np.float32(0.1))]
    (image,) = (v.image for e in events_in(tmp_path / "events") for v in e.summary.value
                if v.HasField("image"))  # fmt: skip
    assert (image.height, image.width, image.colorspace) == (4, 5, 3)

    again = MetricWriter(tmp_path, keep_until=7)
    again.close()
    starts = [e.step for e in events_in(tmp_path / "events")
              if e.session_log.status == SessionLog.START]  # fmt: skip
    assert starts == [8]  # TensorBoard purges events from this step on
    assert len(list((tmp_path / "events").iterdir())) == 2  # none written over


def test_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    metrics = MetricWriter(tmp_path, keep_until=None, tensorboard=False)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(OSError, match=rf"{tmp_path} can't be written to \(No space left"):
        metrics.sync()


def test_json_is_replaced_whole_and_processes_do_not_share_the_new_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, 2]})
    write_json(path, {"c": 3})
    assert json.loads(path.read_text()) == {"c": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_environment_names_versions_devices_and_the_commit():
    found = writer.environment()
    assert found["num_devices"] == 1
    assert found["num_processes"] == 1
    assert set(found["versions"]) >= {"jax", "flax", "optax", "orbax-checkpoint"}
    root = Path(__file__).parents[2]
    git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    if git.returncode == 0:
        assert found["git"].removesuffix("-dirty") == git.stdout.strip()
