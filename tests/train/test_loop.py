"""What a whole run leaves behind, when it evaluates, saves and stops, and what it never leaves."""

import dataclasses
import json
import re
import signal
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_files import checkpoints_in, host_of, last_checkpoint, lines_of
from tiny_run import tiny_experiment

from cvjax.train import checkpoint, loop, setup

NO_PLATEAU = {"optim": {"schedule": {"name": "constant"}}}


@pytest.fixture(scope="module")
def finished(nursery, tmp_path_factory):
    """A run with everything on, the report too."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    child = nursery.train(workdir, {"train": {"tensorboard": True}}, patches=())
    return workdir, child.output


def evaluation_lines(workdir: Path, name: str) -> dict[int, dict[str, float]]:
    lines = (line for line in lines_of(workdir) if f"{name}/loss" in line)
    return {line.pop("step"): line for line in lines}


def test_run_leaves_what_the_house_promises_and_says_where(finished):
    workdir, output = finished
    for name in ("config.json", "environment.json", "metrics.jsonl", "report.html", "curves.png"):
        assert (workdir / name).stat().st_size > 100, name
    for name in ("checkpoints", "metrics.jsonl", "events", "curves.png", "report.html"):
        assert str(workdir / name) in output
    assert (workdir / "samples" / "train_inputs.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((workdir / "environment.json").read_text())["versions"]["jax"]
    assert "finished at step 26" in output
    assert "999 parameters, 26 steps of 8 examples" in output
    assert "before any update, where guessing costs 1.946" in output  # ln 7


def test_evaluations_come_at_their_steps_and_at_the_end(finished):
    workdir, _ = finished
    assert list(evaluation_lines(workdir, "test")) == [6, 12, 18, 24, 26]
    assert list(evaluation_lines(workdir, "other")) == [9, 18, 26]


def test_last_evaluation_is_written_in_full(finished):
    workdir, _ = finished
    for name, count in (("test", 22), ("other", 13)):
        found = json.loads((workdir / "evals" / f"{name}.json").read_text())
        assert found["step"] == 26
        assert found["num_examples"] == np.sum(found["confusion_matrix"]) == count
        assert found["accuracy"] == np.trace(found["confusion_matrix"]) / count
        assert found["accuracy"] == evaluation_lines(workdir, name)[26][f"{name}/accuracy"]


def test_best_checkpoint_is_that_of_the_first_highest_figure_and_is_kept(finished):
    workdir, _ = finished
    lines = evaluation_lines(workdir, "test")
    best = max(lines, key=lambda step: lines[step]["test/accuracy"])
    host = host_of(last_checkpoint(workdir))
    assert (host["best_step"], host["best"]) == (best, lines[best]["test/accuracy"])
    assert {best, 25, 26} == set(checkpoints_in(workdir))


def test_epochs_that_no_batch_divides_end_at_the_step_that_completes_them(nursery, tmp_path):
    """60 examples in batches of 8: an epoch is 7.5 steps."""
    evals = {"test": {"split": "test"}}
    changes = {"evals": evals, "train": {"steps": None, "epochs": 3.0, "checkpoint_every": None}}
    nursery.train(tmp_path, changes)
    assert list(evaluation_lines(tmp_path, "test")) == [8, 15, 22]
    assert host_of(last_checkpoint(tmp_path))["ended"] == "finished"
    assert set(checkpoints_in(tmp_path)) >= {15, 22}


def test_run_without_evaluations_needs_no_figure_to_watch(nursery, tmp_path):
    changes = {**NO_PLATEAU, "evals": {}, "train": {"steps": 3, "early_stop": None}}
    child = nursery.train(tmp_path, changes)
    assert "finished at step 3" in child.output
    assert [line["step"] for line in lines_of(tmp_path)] == [3]


def test_run_stops_when_nothing_gets_better_and_stays_stopped(nursery, tmp_path):
    """With a learning rate of 0 the figures do not move: the first is the best for ever."""
    optim = {"lr": 0.0, "schedule": {"name": "constant"}, "options": {"momentum": 0.0}}
    changes = {"optim": optim, "train": {"early_stop": 2}, "evals": {}, "ema": {"decay": None}}
    changes["evals"] = {"test": {"split": "test", "every": 3}}
    changes["model"] = {"norm": False}
    child = nursery.train(tmp_path, changes)
    assert "stopped early at step 9" in child.output  # best at 3, worse at 6 and 9
    assert host_of(last_checkpoint(tmp_path))["ended"] == "stopped early"
    assert last_checkpoint(tmp_path).name == "9"
    before = (tmp_path / "metrics.jsonl").read_bytes()
    child = nursery.train(tmp_path, changes)
    assert "already stopped early at step 9" in child.output
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


# ---- evaluation alone


def printed_figures(output: str) -> dict[str, float]:
    rows = re.findall(r"^(\w+/\w+) +(-?[\d.]+|nan)$", output, re.MULTILINE)
    return {name: float(value) for name, value in rows}


@pytest.mark.parametrize("which", ["best", "latest", "25"])
def test_evaluating_a_checkpoint_gives_what_training_measured_there(which, nursery, finished):
    """On the moving averages, which is what training evaluates."""
    workdir, _ = finished
    steps = {"best": host_of(last_checkpoint(workdir))["best_step"], "latest": 26, "25": 25}
    changes = {"train": {"tensorboard": True}}
    flags = ("--mode", "eval", "--checkpoint", which)
    child = nursery.launch(workdir, changes, *flags)
    assert child.wait() == 0, child.output
    assert f"evaluating the checkpoint of step {steps[which]}" in child.output
    found = printed_figures(child.output)
    line = evaluation_lines(workdir, "test").get(steps[which])
    if line:
        for name, value in line.items():
            assert found[name] == round(value, 4)
    assert len(found) == 10
    assert json.loads((workdir / "evals" / "test.json").read_text())["step"] == steps[which]


@pytest.mark.slow
def test_evaluating_beside_a_run_that_goes_on_disturbs_neither(nursery, tmp_path):
    """The run replaces its only checkpoint at every step, so each choice is soon gone."""
    train = {"steps": 100_000, "checkpoint_every": 1, "keep": 1, "early_stop": None}
    changes = {"train": train}
    run = nursery.launch(tmp_path, changes)
    run.wait_until(lambda: checkpoints_in(tmp_path), what="a checkpoint")
    for which in ("latest", "best", "latest"):
        child = nursery.launch(tmp_path, changes, "--mode", "eval", "--checkpoint", which)
        assert child.wait() == 0, child.output
        assert printed_figures(child.output)["test/loss"] > 0
    assert run.poll() is None, run.output
    run.send(signal.SIGTERM)
    assert run.wait() == 143
    assert "damaged" not in run.output


# ---- failures in the middle


class FailsAt:
    """A source in memory that can't be read from the n-th batch on."""

    def __init__(self, source, batches: int) -> None:
        self._source, self._left, self.info = source, batches, source.info

    def __len__(self) -> int:
        return len(self._source)

    def batch(self, indices):
        self._left -= 1
        if self._left < 0:
            raise OSError("the cable was pulled")
        return self._source.batch(indices)


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_failure_is_raised_and_leaves_no_thread_and_a_sound_workdir(where, nursery, tmp_path):
    child = nursery.call("test_loop:fail_in", where, str(tmp_path))
    assert child.wait() == 0, child.output
    assert checkpoints_in(tmp_path).keys() == {6, 10}
    assert lines_of(tmp_path)[-1]["step"] >= 8


def fail_in(where: str, workdir: str) -> None:
    """In a child: a run whose data gives out."""
    experiment = tiny_experiment()
    if where == "training":
        source = FailsAt(experiment.train_source, 12)
        experiment = dataclasses.replace(experiment, train_source=source)
    else:  # three batches an evaluation: the second one, at step 12, breaks off
        test = dataclasses.replace(
            experiment.evals["test"], source=FailsAt(experiment.evals["test"].source, 4)
        )
        experiment = dataclasses.replace(experiment, evals={**experiment.evals, "test": test})
    with pytest.raises(OSError, match="the cable was pulled"):
        loop.run(experiment, workdir)
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"prefetch", "checkpoint-seal"}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # signals act as before


@pytest.mark.slow
def test_long_run_takes_no_more_memory_as_it_goes(nursery, tmp_path):
    child = nursery.call("test_loop:train_and_watch_memory", str(tmp_path))
    assert child.wait(280) == 0, child.output
    sizes = json.loads((tmp_path / "sizes.json").read_text())
    assert len(sizes) > 10
    assert max(sizes[5:]) - sizes[5] < 3e6, sizes  # bytes, over some thousand steps


def train_and_watch_memory(folder: str) -> None:
    """In a child: the resident memory at each hundredth log line."""
    train = {"steps": 4000, "log_every": 1, "checkpoint_every": 4000, "early_stop": None}
    changes = {**NO_PLATEAU, "train": train, "evals": {"test": {"split": "test", "every": 40}}}
    experiment = tiny_experiment(changes)
    sizes, write = [], loop.MetricWriter.write

    def watched(self, step, record):
        if step % 200 == 0 and "lr" in record:
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
        write(self, step, record)

    loop.MetricWriter.write = watched
    loop.run(experiment, Path(folder) / "run")
    (Path(folder) / "sizes.json").write_text(json.dumps(sizes))


def timed_lines(nursery, workdir, train, patch):
    """The training lines, their times included, of a run without evaluations, with `patch`."""
    train = {**train, "monitor": "", "early_stop": None}
    changes = NO_PLATEAU | {"train": train, "evals": {}}
    nursery.train(workdir, changes, patches=("without_report", patch))
    written = (workdir / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, written) if "train/loss" in line]


def test_rate_of_a_log_line_counts_the_steps_that_were_still_running(nursery, tmp_path):
    train = {"steps": 24, "log_every": 6, "checkpoint_every": 24}
    _, *rest = lines = timed_lines(nursery, tmp_path / "run", train, "test_loop:slow_steps")
    assert len(rest) == 3
    for before, line in zip(lines, rest):
        took = line["elapsed_seconds"] - before["elapsed_seconds"]
        assert took > 6 * 0.01  # slow enough for the rest to tell
        assert 6 * 8 / line["train/images_per_second"] == pytest.approx(took, rel=0.2)


def test_rate_of_a_log_line_leaves_out_what_saving_took(nursery, tmp_path):
    train = {"steps": 12, "log_every": 4, "checkpoint_every": 4}
    lines = timed_lines(nursery, tmp_path / "run", train, "test_loop:slow_saves")
    assert lines[-1]["elapsed_seconds"] > 2 * SLOW_SAVE
    for line in lines[1:]:
        assert 4 * 8 / line["train/images_per_second"] < SLOW_SAVE


SLOW_SAVE = 1.0


def slow_saves() -> None:
    """A disk that takes its time before a save returns."""
    save = checkpoint.Checkpoints.save

    def slow(*arguments):
        time.sleep(SLOW_SAVE)
        return save(*arguments)

    checkpoint.Checkpoints.save = slow


def slow_steps() -> None:
    """Every step takes some 50 ms more, on the device: dispatch runs ahead."""
    make = setup.make_train_step

    def slow(*arguments, **fields):
        train_step = make(*arguments, **fields)

        def run(state, batch):
            state, report = train_step(state, batch)
            start = jnp.full((300, 300), report["bad_step"] / 300)
            end = jax.lax.fori_loop(0, 60, lambda _, x: jnp.tanh(x @ x), start)
            same = report["bad_step"] + jnp.isnan(end).any()
            return state.replace(bad_step=same), {**report, "bad_step": same}

        return run

    setup.make_train_step = slow
