"""A user's mistakes: each ends the command at once with a sentence that says what to do."""

import dataclasses
import json
import re
import signal

import jax
import numpy as np
import pytest
from child_runs import CONFIG
from tiny_run import tiny_experiment

from cvjax.train.step import step_rngs

# What is wrong, the changes of the config, more flags, the exit status, what the message must say.
MISTAKES = [
    (
        "misspelt fields of several sections, all at once",
        {"optim": {"wieght_decay": 0.1}, "train": {"chekpoint_every": 5}},
        [],
        2,
        [
            "optim.wieght_decay: there is no such field. Did you mean 'weight_decay'?",
            "train.chekpoint_every: there is no such field. Did you mean 'checkpoint_every'?",
        ],
    ),
    (
        "misspelt field of the model",
        {"model": {"widht": 3}},
        [],
        2,
        ["it has no field 'widht'. Did you mean 'width'?"],
    ),
    (
        "misspelt section",
        {"optimizer": {"lr": 1.0}},
        [],
        2,
        ["optimizer: there is no such section. Did you mean 'optim'?"],
    ),
    (
        "misspelt override",
        {},
        ["--config.optim.learning_rate=1", "--config.trian.steps=3"],
        2,
        [
            "--config.optim.learning_rate: there is no field 'optim.learning_rate'.",
            "--config.trian.steps: there is no field 'trian'. Did you mean 'train'?",
        ],
    ),
    (
        "override of the wrong type",
        {},
        ["--config.optim.lr=fast"],
        2,
        ["optim.lr", "fast"],
    ),
    (
        "field of the wrong type",
        {"optim": {"lr": "fast"}, "data": {"batch_size": "many"}},
        [],
        2,
        ["data.batch_size='many' is not of type int", "optim.lr='fast' is not of type float"],
    ),
    (
        "value out of range",
        {"train": {"log_every": 0, "monitor_mode": "most"}, "ema": {"decay": 1.5}},
        [],
        2,
        [
            "train.log_every is 0; it has to be greater than 0",
            "train.monitor_mode is 'most'; use 'max' or 'min'",
            "ema.decay is 1.5; it has to lie between 0 and 1",
        ],
    ),
    (
        "missing data",
        {"data": {"name": "idx", "path": "/nowhere"}},
        [],
        1,
        ["/nowhere"],
    ),
    (
        "class count that disagrees with the data",
        {"model": {"num_classes": 5}},
        [],
        2,
        ["model.num_classes: got 5, but blobs[train] has 7 classes. Set model.num_classes=7"],
    ),
    (
        "batch size that the devices and micro-batches do not divide",
        {"data": {"batch_size": 6}, "optim": {"accumulate": 4}},
        [],
        1,
        ["data.batch_size is 6", "Use a multiple of 4, such as 4 or 8"],
    ),
    (
        "figure that no evaluation measures",
        {
            "train": {"monitor": "tset/accuracy"},
            "optim": {"schedule": {"name": "plateau", "metric": "test/confusion_matrix"}},
        },
        [],
        1,
        [
            "train.monitor is 'tset/accuracy', which no evaluation measures. Did you mean "
            "'test/accuracy'?",
            "optim.schedule.metric is 'test/confusion_matrix', which no evaluation measures.",
        ],
    ),
    (
        "figure to stop by, but no evaluation",
        {"evals": {}, "optim": {"schedule": {"name": "constant"}}},
        [],
        1,
        ["train.monitor is 'test/accuracy'", "There are no evaluations"],
    ),
    (
        "argument that means nothing",
        {},
        ["steps=4"],
        2,
        ["not understood: ['steps=4']"],
    ),
    (
        "unknown flag",
        {},
        ["--wrokdir=x"],
        2,
        ["wrokdir"],
    ),
]


@pytest.mark.parametrize(
    ("changes", "flags", "status", "texts"),
    [mistake[1:] for mistake in MISTAKES],
    ids=[mistake[0] for mistake in MISTAKES],
)
def test_mistake_ends_the_command_with_a_sentence(changes, flags, status, texts, nursery, tmp_path):
    child = nursery.launch(tmp_path / "run", changes, *flags)
    assert child.wait() == status, child.output
    for text in texts:
        assert text in child.output
    assert "Traceback" not in child.output
    assert not (tmp_path / "run").exists()  # found before anything was written


def launch(nursery, *argv):
    child = nursery.call("child_runs:launch_main", ["launch.py", *map(str, argv)])
    return child.wait(), child.output


def test_config_that_is_not_there_is_named_with_the_nearest(nursery, tmp_path):
    argv = ("--config", "configs/classification/lenet_digit.py", "--workdir", tmp_path / "run")
    status, output = launch(nursery, *argv)
    assert status == 2
    assert "there is no file 'configs/classification/lenet_digit.py'" in output
    assert "Did you mean configs/classification/lenet_digits.py?" in output


def test_missing_workdir_is_named(nursery):
    status, output = launch(nursery, "--config", CONFIG)
    assert (status, "--workdir is missing" in output) == (2, True)


def test_traceback_is_shown_on_demand(nursery, tmp_path):
    changes = {"data": {"batch_size": 6}, "optim": {"accumulate": 4}}
    child = nursery.launch(tmp_path / "run", changes, "--traceback")
    assert child.wait() == 1
    assert re.search(r"Traceback.*in check_batch_size", child.output, re.DOTALL)


def test_batch_size_is_checked_against_the_devices(nursery, tmp_path):
    child = nursery.launch(tmp_path / "run", {"data": {"batch_size": 12}}, devices=8)
    assert child.wait() == 1
    assert "12, which 8 device(s) on the data axis times optim.accumulate=2 do not" in child.output


@pytest.fixture(scope="module")
def workdir(nursery, tmp_path_factory):
    """A run of four steps."""
    workdir = tmp_path_factory.mktemp("run")
    nursery.train(workdir, {"train": {"steps": 4}})
    return workdir


def test_workdir_of_another_config_is_refused_and_the_difference_shown(nursery, workdir):
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    changes = {"train": {"steps": 5}, "optim": {"lr": 0.1}, "model": {"width": 9}}
    child = nursery.launch(workdir, changes)
    assert child.wait() == 1
    assert f"{workdir} holds a run of another config" in child.output
    for line in (
        "model.width: 8 there, 9 now",
        "optim.lr: 0.05 there, 0.1 now",
        "train.steps: 4 there, 5 now",
    ):
        assert line in child.output
    assert "data." not in child.output  # nothing else is different
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_evaluation_of_what_is_not_there_is_an_error(nursery, workdir, tmp_path):
    changes, mode = {"train": {"steps": 4}}, ("--mode", "eval")
    child = nursery.launch(tmp_path / "empty", changes, *mode)
    assert child.wait() == 1
    assert "empty/checkpoints holds no checkpoint. Train first, or check --workdir" in child.output
    child = nursery.launch(workdir, changes, *mode, "--checkpoint", "3")
    assert child.wait() == 1
    assert "no checkpoint '3'" in child.output
    assert "'best', 'latest' or one of [4]" in child.output
    child = nursery.launch(workdir, {"model": {"width": 9}}, *mode)
    assert child.wait() == 1
    assert "params/conv/bias: float32[8] there, float32[9] here" in child.output


def test_second_run_in_the_same_workdir_is_refused(nursery, tmp_path):
    workdir, changes = tmp_path / "run", {"train": {"steps": 1_000_000}}
    first = nursery.launch(workdir, changes)
    first.wait_until(lambda: (workdir / "metrics.jsonl").exists(), what="its first line")
    second = nursery.launch(workdir, changes)
    assert second.wait() == 1
    assert f"another process is training in {workdir}" in second.output
    assert first.poll() is None
    first.send(signal.SIGKILL)  # which leaves nothing locked
    first.wait()
    third = nursery.launch(workdir, changes)
    third.wait_until(lambda: "compiled in" in third.output, what="its start")
    third.send(signal.SIGKILL)


# ---- not a number


def test_diverging_run_stops_and_names_the_step(nursery, tmp_path):
    workdir = tmp_path / "run"
    changes = {"optim": {"lr": 1e30}, "train": {"log_every": 50, "checkpoint_every": 2}}
    child = nursery.launch(workdir, changes)
    assert child.wait() == 1
    found = re.search(r"the loss or its gradient was not finite at step (\d+)\.", child.output)
    step = int(found[1])
    assert f"written to {workdir}/not_finite_step_{step}.npz" in child.output
    assert "Lower optim.lr (now 1e+30)" in child.output
    assert "Traceback" not in child.output
    # A state that is not finite was never saved.
    saved = [int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    assert all(s <= step for s in saved)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert all(np.isfinite(list(json.loads(line).values())).all() for line in lines)


def test_dumped_batch_makes_the_loss_not_finite_again(nursery, tmp_path):
    """One picture of the sixty is all zeros, and the normalisation divides by its mean."""
    child = nursery.call("test_errors:train_on_a_bad_picture", str(tmp_path / "run"))
    assert child.wait() == 0, child.output
    step = json.loads((tmp_path / "run" / "step.json").read_text())
    dump = np.load(tmp_path / "run" / f"not_finite_step_{step}.npz")
    assert dump["step"] == step
    experiment = with_a_bad_picture()
    # The step is the first that shows the picture, by the pipeline's order.
    assert (dump["host_image"].reshape(8, -1).max(axis=1) == 0).sum() == 1
    assert not np.isfinite(loss_on(experiment, dump))
    # And what is dumped is what the device saw: the transform of the host's batch.
    key, _ = step_rngs(0, step)
    host = {"image": dump["host_image"], "label": dump["host_label"]}
    seen = experiment.train_transform(key, host)
    np.testing.assert_allclose(seen["image"], dump["device_image"], rtol=1e-5)


def with_a_bad_picture():
    optim = {"schedule": {"name": "constant"}, "accumulate": 1}
    changes = {"optim": optim, "evals": {}, "train": {"early_stop": None}}
    experiment = tiny_experiment({**changes, "model": {"dropout": 0.0}})
    experiment.train_source.images[37] = 0

    def by_the_mean(key, batch):
        image = jax.numpy.asarray(batch["image"], "float32")
        return {**batch, "image": image / image.mean(axis=(1, 2, 3), keepdims=True)}

    return dataclasses.replace(
        experiment, train_transform=by_the_mean, preview_transform=by_the_mean
    )


def loss_on(experiment, dump):
    batch = {"image": dump["device_image"], "label": dump["device_label"]}
    batch = jax.tree.map(jax.numpy.asarray, batch)
    variables = experiment.task.init(jax.random.key(0), batch)
    return experiment.task.loss(variables, batch, step_rngs(0, 0)[1])[0]


def train_on_a_bad_picture(workdir: str) -> None:
    """In a child: trains until it fails, and notes at which step."""
    from pathlib import Path

    from cvjax.train import loop

    try:
        loop.run(with_a_bad_picture(), workdir)
    except loop.NotFiniteError as error:
        step = re.search(r"at step (\d+)", str(error))[1]
        (Path(workdir) / "step.json").write_text(step)
