"""A run that is killed and started again ends where the uninterrupted run ends, bit for bit."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import (
    arrays_of,
    assert_same_run,
    checkpoints_in,
    host_of,
    last_checkpoint,
    lines_of,
)

LAST_STEP = 26
# Instants in the life of the run, as the change of the file system that SIGKILL comes before:
# (regex, how many that match go through), and what must be true of the checkpoints folder then.
INSTANTS = {
    "before anything was saved": (
        ("os.mkdir.*checkpoints'", 0),
        lambda names: names == [],
    ),
    "while a checkpoint is written": (
        ("os.remove.*/5.orbax-checkpoint-tmp/_METADATA", 0),
        lambda names: names == ["5.orbax-checkpoint-tmp"],
    ),
    "when it is written, before it gets its name": (
        ("os.rename.*/5.orbax-checkpoint-tmp'", 0),
        lambda names: names == ["5.orbax-checkpoint-tmp"],
    ),
    "between its name and its seal": (
        ("open.*/6/seal.json", 0),
        lambda names: names == ["5", "6"],
    ),
    "before the first is renamed for deletion": (
        (r"os.rename.*5\.deleting", 0),
        lambda names: names == ["10", "5", "6", "6.damaged"],
    ),
    "in the middle of its deletion": (
        ("os.remove.*d5|os.rmdir", 1),
        lambda names: any(name.endswith(".deleting") for name in names),
    ),
    "after an evaluation was logged, before it counts": (
        ("os.rename.*test.json.*tmp'", 0),
        lambda names: "15" in names,
    ),
    "after the last checkpoint, before the run has ended": (
        (f"os.rename.*{LAST_STEP}/seal.json.tmp", 0),
        lambda names: str(LAST_STEP) in names,
    ),
}


@pytest.fixture(scope="module")
def uninterrupted(nursery, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("reference") / "run"
    nursery.train(workdir)
    return workdir


def names_in(workdir: Path) -> list[str]:
    folder = workdir / "checkpoints"
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def test_the_run_has_every_kind_of_state(uninterrupted):
    """Else the other tests would compare less than they say."""
    arrays = arrays_of(last_checkpoint(uninterrupted))
    for part in ("params", "batch_stats", "opt_state", "ema", "window", "lr_scale"):
        assert any(part in name for name in arrays), part
    host = host_of(last_checkpoint(uninterrupted))
    assert arrays[".lr_scale" if ".lr_scale" in arrays else "['lr_scale']"] < 1
    assert host["plateau"]["scale"] < 1
    assert host["early_stop"]["best"] > 0
    assert [line["step"] for line in lines_of(uninterrupted) if "lr" in line] == [
        *range(4, LAST_STEP, 4),
        LAST_STEP,
    ]


def test_run_killed_at_every_kind_of_instant_ends_as_if_never_killed(
    nursery, uninterrupted, tmp_path
):
    workdir = tmp_path / "run"
    for what, (kill_at, holds) in INSTANTS.items():
        child = nursery.launch(workdir, kill_at=kill_at)
        assert child.wait() == -signal.SIGKILL, f"{what}: {child.output}"
        assert holds(names_in(workdir)), f"{what}: {names_in(workdir)}"
    nursery.train(workdir)
    assert_same_run(workdir, uninterrupted)
    leftovers = [name for name in names_in(workdir) if "tmp" in name or "deleting" in name]
    assert leftovers == []


@pytest.mark.slow
def test_run_killed_while_it_writes_lines_and_evaluates_ends_as_if_never_killed(
    nursery, uninterrupted, tmp_path
):
    workdir = tmp_path / "run"
    child = nursery.launch(workdir)
    child.wait_until(lambda: '"step": 8,' in metrics_text(workdir), what="the line of step 8")
    child.send(signal.SIGKILL)
    child.wait()
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "train/acc')  # as far as the line got
    child = nursery.launch(workdir, patches=("without_report", "kill_in_second_evaluation"))
    assert child.wait() == -signal.SIGKILL, child.output
    nursery.train(workdir)
    assert_same_run(workdir, uninterrupted)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_and_exits_and_the_run_goes_on_to_the_same_end(
    number, status, nursery, uninterrupted, tmp_path
):
    # In the evaluation of step 6, after which a checkpoint is due anyway; or at any other step.
    instant = "os.rename.*evals/test.json" if status == 143 else "os.mkdir.*/6.orbax"
    workdir = tmp_path / "run"
    child = nursery.launch(workdir, kill_at=(instant, 0), kill_with=number)
    assert child.wait() == status, child.output
    stopped_at = int(last_checkpoint(workdir).name)
    assert 6 <= stopped_at < LAST_STEP
    assert f"saved at step {stopped_at} of {LAST_STEP}" in child.output
    assert all(name.isdigit() for name in names_in(workdir))
    assert lines_of(workdir)[-1]["step"] <= stopped_at
    nursery.train(workdir)
    assert_same_run(workdir, uninterrupted)


def test_second_ctrl_c_ends_at_once_although_the_disk_hangs(nursery, tmp_path):
    workdir = tmp_path / "run"
    child = nursery.launch(workdir, patches=("without_report", "hang_when_sealing"))
    child.wait_until(lambda: "5" in names_in(workdir), what="the first checkpoint")
    child.send(signal.SIGINT)
    child.wait_until(lambda: "once more ends at once" in child.output, what="the first's answer")
    time.sleep(0.5)  # the run waits for its checkpoint
    assert child.poll() is None
    before = time.monotonic()
    child.send(signal.SIGINT)
    assert child.wait() == 130, child.output
    assert time.monotonic() - before < 5
    assert checkpoints_in(workdir) == {}


def test_finished_run_started_again_changes_nothing(nursery, uninterrupted, tmp_path):
    before = (uninterrupted / "metrics.jsonl").read_bytes(), names_in(uninterrupted)
    child = nursery.train(uninterrupted)
    assert f"already finished at step {LAST_STEP}" in child.output
    assert ((uninterrupted / "metrics.jsonl").read_bytes(), names_in(uninterrupted)) == before


@pytest.mark.slow
@pytest.mark.parametrize("first", range(10))
def test_run_killed_before_any_change_of_the_file_system_ends_as_if_never_killed(
    first, nursery, uninterrupted, tmp_path
):
    """Each tenth of them; a kill between two changes leaves the same files as one of these."""
    last = 0
    for count in range(first, 1000, 10):
        workdir = tmp_path / f"run{count}"
        child = nursery.launch(workdir, kill_at=(str(workdir) + "|_METADATA|deleting", count))
        if child.wait() == 0:
            break
        assert child.poll() == -signal.SIGKILL, child.output
        last = count
        nursery.train(workdir)
        assert_same_run(workdir, uninterrupted)
    assert 50 < last < 1000


@pytest.mark.slow
def test_run_killed_at_random_times_again_and_again_ends_as_if_never_killed(
    nursery, uninterrupted, tmp_path
):
    rng = np.random.default_rng(0)
    for attempt in range(5):
        workdir = tmp_path / f"run{attempt}"
        for _ in range(8):
            child = nursery.launch(workdir)
            child.wait_until(workdir.exists, what="the workdir")
            time.sleep(rng.uniform(0, 3))
            child.send(signal.SIGKILL)
            child.wait()
        nursery.train(workdir)
        assert_same_run(workdir, uninterrupted)


def metrics_text(workdir: Path) -> str:
    path = workdir / "metrics.jsonl"
    return path.read_text() if path.exists() else ""
