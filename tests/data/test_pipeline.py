"""Batches: the right examples, once each, in the same order however they are read."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvjax.data.bad_examples import BadExample, SkipLog
from cvjax.data.order import shuffled_indices
from cvjax.data.pipeline import (
    Prefetch,
    Reading,
    eval_batches,
    num_eval_batches,
    train_batch,
    train_batches,
)
from cvjax.data.source import SourceInfo
from cvjax.data.sources.folder import Folder
from cvjax.data.views import make_view

COUNT = 23
INFO = SourceInfo("numbered", (), COUNT, (2, 3, 1))


@dataclasses.dataclass(frozen=True)
class Numbered:
    """Example i is a picture whose pixels, like its label, are i. `bad` ones can't be read."""

    count: int = COUNT
    bad: tuple[int, ...] = ()
    info: SourceInfo = INFO

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.bad:
            raise BadExample("it is empty")
        return {"image": np.full((2, 3, 1), index, np.uint8), "label": np.asarray(index, np.int32)}

    def describe(self, index):
        return f"number {index}"


class Gathered(Numbered):
    """The same, handing over whole batches."""

    def batch(self, indices):
        images = np.broadcast_to(indices[:, None, None, None], (len(indices), 2, 3, 1))
        return {"image": images.astype(np.uint8), "label": indices.astype(np.int32)}


@dataclasses.dataclass(frozen=True)
class NoisyView:
    """A view whose result tells which random numbers it was given."""

    def __call__(self, image, rng):
        return image + rng.integers(0, 100, image.shape).astype(np.uint8)


def reading(batch_size=5, rows=None, **options):
    rows = np.arange(batch_size) if rows is None else np.asarray(rows)
    return Reading(batch_size=batch_size, rows=rows, **options)


def first(batches, count):
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


def assert_same_batches(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


# ---- training


@pytest.mark.parametrize("source", [Gathered(), Numbered()], ids=["gathered", "by Grain"])
def test_batches_hold_the_examples_of_the_order_and_straddle_epochs(source):
    batches = first(train_batches(source, reading(5), seed=4), 12)
    labels = np.concatenate([batch["label"] for batch in batches])
    np.testing.assert_array_equal(
        labels, shuffled_indices(np.arange(60), seed=4, num_examples=COUNT)
    )
    assert sorted(labels[:COUNT]) == list(range(COUNT))  # nothing dropped at the epoch's end
    for batch in batches:
        assert batch["image"].shape == (5, 2, 3, 1)
        assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])


@pytest.mark.parametrize("parts", [[[0, 1, 2], [3, 4, 5]], [[0, 2], [1, 3], [4], [5]]])
@pytest.mark.parametrize("source", [Gathered(), Numbered()], ids=["gathered", "by Grain"])
def test_rows_of_the_processes_make_up_the_global_batch(source, parts):
    whole = first(train_batches(source, reading(6), seed=1), 9)
    for rows in parts:
        part = first(train_batches(source, reading(6, rows), seed=1), 9)
        expected = [{name: value[rows] for name, value in batch.items()} for batch in whole]
        assert_same_batches(part, expected)


@pytest.mark.parametrize("source", [Gathered(), Numbered()], ids=["gathered", "by Grain"])
def test_starting_later_gives_what_would_have_come(source):
    how = reading(4, view=NoisyView()) if type(source) is Numbered else reading(4)
    whole = first(train_batches(source, how, seed=2), 14)
    for start in (1, 5, 13):
        later = train_batches(source, how, seed=2, start_step=start)
        assert_same_batches(first(later, 14 - start), whole[start:])
        assert_same_batches([train_batch(source, how, start, seed=2)], [whole[start]])


def test_threads_do_not_change_what_is_read_nor_what_views_draw():
    expected = [
        train_batch(Numbered(), reading(4, view=NoisyView()), step, seed=0) for step in range(12)
    ]
    for threads in (1, 5):
        how = reading(4, view=NoisyView(), threads=threads)
        assert_same_batches(first(train_batches(Numbered(), how, seed=0), 12), expected)
    images = np.concatenate([batch["image"] for batch in expected]).reshape(48, -1)
    labels = np.concatenate([batch["label"] for batch in expected])
    noise = {tuple(row - label) for row, label in zip(images, labels)}
    assert len(noise) == 48  # every example, and every epoch, draws its own


def test_worker_processes_read_the_same_and_end_with_the_iterator():
    how = reading(4, view=NoisyView())
    expected = [train_batch(Numbered(), how, step, seed=0) for step in range(3, 9)]
    how = dataclasses.replace(how, workers=2)
    found = train_batches(Numbered(), how, seed=0, start_step=3)
    assert_same_batches([next(found) for _ in range(6)], expected)
    assert len(multiprocessing.active_children()) == 2
    found.close()
    deadline = time.monotonic() + 10  # they are told to end, and end by themselves
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []


def test_a_batch_can_be_changed_without_changing_the_source_or_the_next():
    source = Gathered()
    batches = train_batches(source, reading(COUNT), seed=0)
    next(batches)["image"][:] = 255
    np.testing.assert_array_equal(
        np.sort(next(batches)["image"][:, 0, 0, 0]), np.arange(COUNT, dtype=np.uint8)
    )


def test_pictures_of_different_shapes_are_an_error_that_names_the_way_out():
    class Uneven(Numbered):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "image": np.zeros((2, 2 + index % 2, 1), "u1")}

    with pytest.raises(ValueError, match=r"differ in shape: .*Set data.image_size and a view"):
        train_batch(Uneven(), reading(8), 0, seed=0)


@pytest.mark.parametrize("read", [eval_batches, lambda s, r: train_batches(s, r, seed=0)])
def test_empty_source_is_an_error(read):
    with pytest.raises(ValueError, match="numbered holds no examples"):
        read(Numbered(count=0), reading(2))


# ---- evaluation


@pytest.mark.parametrize("source_type", [Gathered, Numbered])
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 3, 8, 9, 16, 23])
def test_evaluation_counts_each_example_once_over_all_processes(source_type, processes, count):
    source, share = source_type(count=count), 8 // processes
    parts = [
        list(eval_batches(source, reading(8, np.arange(share) + share * process)))
        for process in range(processes)
    ]
    assert {len(part) for part in parts} == {num_eval_batches(source, 8)} == {-(-count // 8)}
    seen = []
    for step in range(len(parts[0])):
        for part in parts:
            batch = part[step]
            assert batch["valid"].dtype == bool
            assert len(batch["valid"]) == len(batch["image"]) == len(batch["label"]) == share
            seen += batch["label"][batch["valid"]].tolist()
    assert seen == list(range(count))  # in order, too


def test_evaluation_is_the_same_with_threads_and_views_every_time():
    how = reading(4, view=NoisyView(), threads=3)
    assert_same_batches(
        list(eval_batches(Numbered(), how)),
        list(eval_batches(Numbered(), dataclasses.replace(how, threads=1))),
    )


# ---- bad examples


def test_bad_example_stops_the_run_and_is_named():
    source = Numbered(bad=(7,))
    expected = r"number 7: it is empty\. .*data.on_bad_example='skip'"
    with pytest.raises(BadExample, match=expected):
        list(eval_batches(source, reading(5)))
    with pytest.raises(BadExample, match=expected):
        first(train_batches(source, reading(5), seed=0), 5)
    with pytest.raises(BadExample, match=expected):
        train_batch(source, reading(COUNT), 0, seed=0)


def test_skipping_leaves_holes_in_evaluation_and_names_each_bad_example_once(tmp_path):
    source, log = Numbered(bad=(0, 7, 22)), SkipLog(tmp_path / "skipped.log")
    how = reading(5, on_bad_example="skip")
    for _ in range(2):
        batches = list(eval_batches(source, how, skip_log=log))
        assert len(batches) == num_eval_batches(source, 5)
        labels = np.concatenate([batch["label"][batch["valid"]] for batch in batches])
        assert labels.tolist() == [i for i in range(COUNT) if i not in (0, 7, 22)]
    assert log.reasons == dict.fromkeys(["number 0", "number 7", "number 22"], "it is empty")
    assert log.skips == 6
    assert len((tmp_path / "skipped.log").read_text().splitlines()) == 3


def test_skipping_takes_the_next_legal_example_in_training_on_every_path():
    bad = (3, 4, 22)
    source, log = Numbered(bad=bad), SkipLog()
    how = reading(5, on_bad_example="skip")
    batches = first(train_batches(source, how, seed=1, skip_log=log), 10)
    stand_in = {3: 5, 4: 5, 22: 0}
    wanted = shuffled_indices(np.arange(50), seed=1, num_examples=COUNT).tolist()
    labels = np.concatenate([batch["label"] for batch in batches]).tolist()
    assert labels == [stand_in.get(index, index) for index in wanted]
    assert set(log.reasons) == {f"number {index}" for index in bad}
    later = first(train_batches(source, how, seed=1, start_step=4), 6)
    assert_same_batches(later, batches[4:])


def test_source_with_nothing_legal_is_an_error_and_no_endless_search():
    source = Numbered(count=3, bad=(0, 1, 2))
    how = reading(2, on_bad_example="skip")
    with pytest.raises(ValueError, match=r"none of its 3 examples can be read.*it is empty"):
        train_batch(source, how, 0, seed=0)
    with pytest.raises(ValueError, match="none of its examples can be read"):
        list(eval_batches(source, how))


def test_evaluation_batch_of_bad_examples_alone_counts_nothing():
    source, how = Numbered(bad=tuple(range(5, 10))), reading(5, on_bad_example="skip")
    batches = list(eval_batches(source, how))
    assert not batches[1]["valid"].any()
    assert sum(batch["valid"].sum() for batch in batches) == COUNT - 5


@pytest.fixture
def pictures(tmp_path):
    """Nine pictures of two classes in files; one is cut off, one is empty, one is text."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(6):
            picture = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "train" / name / f"{label}{i}.png")
    ants = tmp_path / "train" / "ant"
    (ants / "01.png").write_bytes((ants / "02.png").read_bytes()[:300])
    (ants / "03.png").write_bytes(b"")
    (tmp_path / "train" / "bee" / "11.png").write_text("not a picture")
    return tmp_path


def test_broken_files_are_skipped_named_and_stand_for_nothing(pictures):
    source, log = Folder("train", path=str(pictures), test_fraction=0.0), SkipLog()
    how = reading(4, view=make_view("resize", 8, 3), on_bad_example="skip")
    batches = list(eval_batches(source, how, skip_log=log))
    assert sum(batch["valid"].sum() for batch in batches) == 9
    names = {path.rpartition("/")[2] for path in log.reasons}
    assert names == {"01.png", "03.png", "11.png"}
    first(train_batches(source, how, seed=0, skip_log=log), 8)
    assert log.examples == 3
    with pytest.raises(BadExample, match=r"(01|03|11)\.png: .*on_bad_example"):
        list(eval_batches(source, dataclasses.replace(how, on_bad_example="error")))


@pytest.mark.slow
def test_broken_file_is_named_through_worker_processes(pictures):
    source = Folder("train", path=str(pictures), test_fraction=0.0)
    how = reading(4, view=make_view("resize", 8, 3), workers=2)
    with pytest.raises(BadExample, match=r"(01|03|11)\.png: .*on_bad_example"):
        list(eval_batches(source, how))
    assert multiprocessing.active_children() == []


READS_FOR_EVER = """
import multiprocessing, time
from test_pipeline import Numbered, reading
from cvjax.data.pipeline import train_batches
if __name__ == "__main__":
    batches = train_batches(Numbered(), reading(4, workers=2), seed=0)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    for _ in batches:
        time.sleep(0.1)
"""


@pytest.mark.slow
def test_worker_processes_ignore_ctrl_c_and_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "reads.py").write_text(READS_FOR_EVER)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "reads.py")], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGINT)
        time.sleep(1)
        assert all(is_running(pid) for pid in workers)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "they run on"
        time.sleep(0.05)


def is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- working ahead


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_prefetch_gives_every_element_in_order_and_then_ends():
    with Prefetch(iter(range(20)), lambda x: x * x) as ahead:
        assert list(ahead) == [x * x for x in range(20)]
        assert next(ahead, "end") == next(ahead, "end") == "end"  # and does not wait for ever
    assert prefetch_threads() == []


@pytest.mark.parametrize("where", ["reading", "placing"])
def test_prefetch_raises_the_error_after_what_came_before_it(where):
    def elements():
        yield from range(3)
        if where == "reading":
            raise KeyError("disk on fire")
        yield 3

    def place(element):
        if element == 3:
            raise KeyError("disk on fire")
        return element

    with Prefetch(elements(), place) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError, match="disk on fire"):
            next(ahead)
        assert next(ahead, "end") == "end"
    assert prefetch_threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_works_no_further_ahead_than_told(depth):
    made = []
    with Prefetch((made.append(i) or i for i in range(100)), depth=depth) as ahead:
        deadline = time.monotonic() + 10
        while len(made) < depth + 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(made) == depth + 1  # one waits to be put
        assert next(ahead) == 0


def test_closing_ends_the_thread_and_the_reading_however_far_they_are():
    for taken in (0, 1, 5):
        closed = []

        def elements(closed=closed):
            try:
                yield from range(1000)
            finally:
                closed.append(True)

        ahead = Prefetch(elements())
        assert [next(ahead) for _ in range(taken)] == list(range(taken))
        ahead.close()
        ahead.close()
        assert closed == [True]
        assert prefetch_threads() == []
        assert next(ahead, "end") == "end"


def test_error_in_the_body_ends_the_thread():
    with pytest.raises(ZeroDivisionError), Prefetch(iter(range(1000))) as ahead:
        1 / next(ahead)
    assert prefetch_threads() == []
