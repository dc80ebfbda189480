"""Checkpoints: what is saved is what was there, damage is found and named, nothing else is lost."""

import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_files import arrays_of, assert_same_run, checkpoints_in

from cvjax.train import checkpoint
from cvjax.train.checkpoint import CheckpointError, Checkpoints, problems_of, read_seal

HOST = {"best_step": None, "figures": {"test/loss": 1e-05}, "name": "é"}


def small_state(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "params": {"kernel": jnp.asarray(rng.normal(size=(40, 30)), jnp.float32)},
        "count": jnp.asarray(seed, jnp.int32),
        "ema": None,
    }


def layout_of(state) -> dict:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2; tests work on copies."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(folder, keep=5) as checkpoints:
        for step in (1, 2):
            checkpoints.save(small_state(step), step, HOST)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def files_in(checkpoint_folder: Path) -> list[Path]:
    return sorted(p for p in checkpoint_folder.rglob("*") if p.is_file())


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


# ---- damage


def test_sound_checkpoint_has_no_problems_and_comes_back_bit_for_bit(folder):
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.newest_sound() == 2
        restored = checkpoints.restore(2, layout_of(small_state()))
    assert problems_of(folder / "2") == []
    assert restored.host == HOST
    for found, expected in zip(jax.tree.leaves(restored.state), jax.tree.leaves(small_state(2))):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_any_flipped_bit_in_any_file_is_found_and_the_file_named(folder):
    rng = np.random.default_rng(0)
    files = files_in(folder / "2")
    assert len(files) > 5
    for path in files:
        size = path.stat().st_size * 8
        for bit in rng.choice(size, min(size, 25), replace=False):
            original = path.read_bytes()
            flip(path, int(bit))
            problems = problems_of(folder / "2")
            if path.name == "seal.json" and not problems:
                assert read_seal(folder / "2")["host"] == HOST  # 1e-05 may become 1E-05
            else:
                assert len(problems) == 1, (path, bit)
                assert path.name in problems[0]
            path.write_bytes(original)


def test_any_truncated_or_missing_file_is_found_and_named(folder):
    for path in files_in(folder / "2"):
        original = path.read_bytes()
        for size in {0, len(original) // 2, len(original) - 1}:
            path.write_bytes(original[:size])
            (problem,) = problems_of(folder / "2")
            assert path.name in problem
        path.unlink()
        (problem,) = problems_of(folder / "2")
        assert path.name in problem
        assert "missing" in problem
        path.write_bytes(original)


@pytest.mark.parametrize(
    "edited",
    ["", "[]", "7", "null", '{"files": {}}', '{"files": {}, "host": {}, "seal": "0"}', "\xff"],
)
def test_edited_seal_is_found(edited, folder):
    (folder / "2" / "seal.json").write_text(edited, encoding="latin-1")
    (problem,) = problems_of(folder / "2")
    assert "seal.json" in problem


def test_seal_whose_record_was_changed_is_found(folder):
    path = folder / "2" / "seal.json"
    seal = json.loads(path.read_text())
    seal["host"]["best_step"] = 1
    path.write_text(json.dumps(seal))
    (problem,) = problems_of(folder / "2")
    assert "seal.json" in problem


def test_damaged_newest_is_named_set_aside_and_the_one_before_is_used(folder):
    messages = []
    victim = files_in(folder / "2")[0]
    contents = victim.read_bytes()
    victim.write_bytes(contents + b"x")
    with Checkpoints(folder, warn=messages.append) as checkpoints:
        assert checkpoints.newest_sound() == 1
    (message,) = messages
    assert str(folder / "2") in message
    assert f"{victim.name} has {len(contents) + 1} bytes instead of {len(contents)}" in message
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2.damaged"]
    assert (folder / "2.damaged" / victim.relative_to(folder / "2")).exists()


def test_without_a_sound_checkpoint_there_is_none_and_all_are_kept_aside(folder):
    for step in ("1", "2"):
        shutil.rmtree(folder / step / "d")
    (folder / "1.damaged").mkdir()  # of an earlier time
    (folder / "30.orbax-checkpoint-tmp").mkdir()
    (folder / "3.deleting").mkdir()
    with Checkpoints(folder, warn=lambda _: None) as checkpoints:
        assert checkpoints.newest_sound() is None
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["1.damaged", "1.damaged-2", "2.damaged"]


def test_state_of_another_shape_or_tree_is_refused(folder):
    good = layout_of(small_state())
    sharding = good["count"].sharding
    with Checkpoints(folder) as checkpoints:
        for shape in ((30, 40), (40, 31), (39, 30), (1200,)):
            kernel = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
            text = f"params/kernel: float32[40, 30] there, float32{list(shape)} here"
            with pytest.raises(CheckpointError, match=re.escape(text)):
                checkpoints.restore(2, {**good, "params": {"kernel": kernel}})
        count = jax.ShapeDtypeStruct((), jnp.float32, sharding=sharding)
        with pytest.raises(CheckpointError, match=r"count: int32\[\] there, float32\[\] here"):
            checkpoints.restore(2, {**good, "count": count})
        ema = {"kernel": good["params"]["kernel"]}
        with pytest.raises(CheckpointError, match="ema/kernel: nothing there, float32") as error:
            checkpoints.restore(2, {"params": good["params"], "ema": ema})
        assert "count: int32[] there, nothing here" in str(error.value)  # all at once


def test_find_knows_best_latest_and_steps_and_names_what_is_damaged(folder):
    with Checkpoints(folder, keep=5) as checkpoints:
        checkpoints.save(small_state(3), 3, {**HOST, "best_step": 1})
        checkpoints.wait()
        assert [checkpoints.find(which) for which in ("best", "latest", "2")] == [1, 3, 2]
        for which in ("7", "newest", "-1"):
            with pytest.raises(CheckpointError, match=r"'best', 'latest' or one of \[1, 2, 3\]"):
                checkpoints.find(which)
        flip(folder / "1" / "_METADATA", 100)
        with pytest.raises(CheckpointError, match=r"step 1 .*_METADATA has changed.*\[2, 3\]"):
            checkpoints.find("best")
        shutil.rmtree(folder / "1")
        assert checkpoints.find("best") == 3
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        Checkpoints(folder / "nowhere").find("latest")


# ---- saving


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_retention_keeps_the_newest_and_the_best(keep, tmp_path):
    best_at = {1: None, 2: 2, 3: 2, 5: 2, 8: 8, 9: 8, 12: 8, 13: 8}
    saved = []
    with Checkpoints(tmp_path, keep=keep) as checkpoints:
        for step, best in best_at.items():
            checkpoints.save({"x": jnp.zeros(3)}, step, {"best_step": best})
            checkpoints.wait()
            saved.append(step)
            saved = [s for s in saved if s in saved[-keep:] or s == best]
            assert checkpoints.steps() == saved
            assert all(problems_of(tmp_path / str(s)) == [] for s in saved)


def test_steps_that_follow_do_not_change_what_is_being_saved(tmp_path):
    """The step donates the state, so its buffers are written over while the save goes on."""

    @jax.jit
    def fresh():
        return {"weights": [jnp.full((512, 1024), float(i)) for i in range(8)]}

    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 1.5 + 1, s), donate_argnums=0)
    state, expected = fresh(), {}
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        for number in range(1, 13):
            state = step(state)
            if number % 4 == 0:
                expected[number] = jax.tree.map(lambda x: np.array(x, copy=True), state)
                checkpoints.save(state, number, HOST)
    assert list(checkpoints_in(tmp_path.parent) or checkpoints.steps()) == [4, 8, 12]
    for number, value in expected.items():
        found = arrays_of(tmp_path / str(number))
        for leaf, array in zip(value["weights"], found.values()):
            np.testing.assert_array_equal(array, leaf)


def test_whoever_looks_on_sees_only_whole_checkpoints(tmp_path):
    seen, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            for step in Checkpoints.steps(checkpoints):
                problems = problems_of(tmp_path / str(step))
                if (tmp_path / str(step)).exists():  # else it was deleted meanwhile
                    seen.append((step, problems))

    with Checkpoints(tmp_path, keep=2) as checkpoints:
        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            for step in range(1, 9):
                checkpoints.save(small_state(step), step, HOST)
        finally:
            checkpoints.wait()
            stop.set()
            watcher.join()
    assert {step for step, problems in seen if problems} == set()
    assert len({step for step, _ in seen}) > 3


def test_seal_names_no_lock_file_of_the_writer(folder):
    lock = folder / "2" / "ocdbt.process_0" / "manifest.ocdbt.__lock"
    lock.write_bytes(b"")
    checkpoint.write_seal(folder / "2", HOST)
    assert problems_of(folder / "2") == []
    lock.unlink()
    assert problems_of(folder / "2") == []


def test_what_the_caller_changes_while_a_seal_is_being_written_is_not_in_it(folder, monkeypatch):
    changed, write_seal = threading.Event(), checkpoint.write_seal

    def late(*arguments):
        assert changed.wait(60)
        write_seal(*arguments)

    monkeypatch.setattr(checkpoint, "write_seal", late)
    host = {"best_step": None, "figures": {"test/loss": 0.5}}
    with Checkpoints(folder, keep=5) as checkpoints:
        checkpoints.save(small_state(), 3, host)
        host["figures"]["test/loss"] = 0.25
        changed.set()
    assert read_seal(folder / "3")["host"]["figures"] == {"test/loss": 0.5}


def test_failure_while_sealing_is_told_by_the_next_call_and_names_what_is_intact(
    folder, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with Checkpoints(folder) as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_seal", full)
            checkpoints.save(small_state(), 3, HOST)
            with pytest.raises(CheckpointError, match=r"step 3 .*No space left.*intact: 1, 2\."):
                checkpoints.wait()
        checkpoints.wait()  # told once
        assert checkpoints.newest_sound() == 2
        checkpoints.save(small_state(), 3, HOST)
    assert problems_of(folder / "3") == []


# ---- whole runs


@pytest.fixture(scope="module")
def finished(nursery, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    nursery.train(workdir, {"train": {"steps": 16}})
    return workdir


def test_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(
    nursery, finished, tmp_path
):
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    *_, before, newest = checkpoints_in(workdir)
    victim = max(files_in(workdir / "checkpoints" / str(newest)), key=lambda p: p.stat().st_size)
    flip(victim, 8 * 1000 + 3)
    child = nursery.train(workdir, {"train": {"steps": 16}})
    assert f"checkpoints/{newest} is damaged" in child.output
    assert f"{victim.name} has changed content" in child.output
    assert f"resuming from the checkpoint of step {before}" in child.output
    assert_same_run(workdir, finished)


def test_full_disk_is_a_clear_error_and_harms_nothing(nursery, finished, tmp_path):
    workdir = tmp_path / "run"
    changes = {"train": {"steps": 16, "tensorboard": True}}
    child = nursery.launch(workdir, changes, kill_at=("os.mkdir.*10.orbax", 0))
    assert child.wait() == -signal.SIGKILL, child.output
    intact = checkpoints_in(workdir)
    child = nursery.launch(workdir, changes, patches=("without_report", "no_big_files"))
    assert child.wait() == 1, child.output
    message = child.output[child.output.index("error: could not save") :]
    assert f"in {workdir / 'checkpoints'}: " in message
    assert "File too large" in message
    assert "Traceback" not in child.output
    assert f"intact: {', '.join(map(str, intact))}." in message
    assert {s: problems_of(path) for s, path in intact.items()} == {s: [] for s in intact}
    nursery.train(workdir, changes)
    assert_same_run(workdir, finished)


def test_full_disk_for_metrics_is_a_clear_error(nursery, tmp_path):
    workdir = tmp_path / "run"
    changes = {"train": {"steps": 4000, "checkpoint_every": 4000, "log_every": 1}, "evals": {}}
    changes["optim"] = {"schedule": {"name": "constant"}}
    changes["train"] |= {"early_stop": None, "tensorboard": True}
    child = nursery.launch(workdir, changes, patches=("without_report", "no_big_files"))
    assert child.wait() == 1, child.output
    assert f"{workdir} can't be written to (File too large)" in child.output
    assert "Traceback" not in child.output


def test_read_only_folder_is_a_clear_error_and_harms_nothing(nursery, finished, tmp_path):
    workdir, changes = tmp_path / "run", {"train": {"steps": 16}}
    unprivileged = {"patches": ("without_report", "without_privileges")}
    tmp_path.chmod(0o555)
    try:
        child = nursery.launch(workdir, changes, **unprivileged)
        assert child.wait() == 1, child.output
        assert f"{workdir} can't be written to (Permission denied)" in child.output
    finally:
        tmp_path.chmod(0o755)
    child = nursery.launch(workdir, changes, kill_at=("os.mkdir.*10.orbax", 0))
    assert child.wait() == -signal.SIGKILL, child.output
    intact = checkpoints_in(workdir)
    (workdir / "checkpoints").chmod(0o555)
    try:
        shutil.rmtree(workdir / "checkpoints" / "10.orbax-checkpoint-tmp", ignore_errors=True)
        child = nursery.launch(workdir, changes, **unprivileged)
        assert child.wait() == 1, child.output
        assert "could not save the checkpoint of step 10" in child.output
        assert "Permission denied" in child.output
    finally:
        (workdir / "checkpoints").chmod(0o755)
    assert {s: problems_of(path) for s, path in intact.items()} == {s: [] for s in intact}
    nursery.train(workdir, changes)
    assert_same_run(workdir, finished)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_disk_that_is_really_full_is_a_clear_error_and_harms_nothing(nursery, finished, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=600k tmpfs {disk}"
    if os.system(mount + " 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    try:
        workdir, changes = disk / "run", {"train": {"steps": 16, "tensorboard": True}}
        child = nursery.launch(workdir, changes, kill_at=("os.mkdir.*10.orbax", 0))
        assert child.wait() == -signal.SIGKILL, child.output
        intact = checkpoints_in(workdir)
        free = shutil.disk_usage(disk).free
        (disk / "filler").write_bytes(bytes(free - 3 * 4096))  # some pages for small files
        child = nursery.launch(workdir, changes)
        assert child.wait() == 1, child.output
        assert "No space left on device" in child.output
        assert "Traceback" not in child.output
        assert {s: problems_of(path) for s, path in intact.items()} == {s: [] for s in intact}
        (disk / "filler").unlink()
        nursery.train(workdir, changes)
        assert_same_run(workdir, finished)
    finally:
        os.system(f"umount {disk}")
