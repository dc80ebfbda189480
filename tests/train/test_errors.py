"""Bad commands, configs, data and workdirs: what a person reads, and the exit status."""

import json

import jax
import numpy as np
import pytest
from tiny_run import tiny_experiment

from cvjax.train import loop
from cvjax.train.loop import NotFiniteError

DIGITS = ("--config", "configs/classification/lenet_digits.py:smoke")


@pytest.fixture(autouse=True)
def _libraries_may_broadcast():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--config.optim.lrr=1",), "no field 'optim.lrr'. Did you mean 'lr'?"),
        (("--config.optm.lr=1",), "no field 'optm'. Did you mean 'optim'?"),
        (("--config.optim.lr=fast",), "could not convert string to float: 'fast'"),
        (("--config.model.num_classes=3",), "has 10 classes. Set model.num_classes=10"),
        (("--config.data.name=folder", "--config.data.path=nowhere"), "no folder 'nowhere'"),
        (("--config.data.batch_size=0",), "data.batch_size is 0"),
        (("--config.train.monitor=test/acuracy",), "test/accuracy"),
        (("--config.train.early_stop=0",), "train.early_stop is 0"),
        (("--mode=evla",), "evla"),
        (("--workdri=x",), "workdri"),
        (("stray",), "not understood: ['stray']"),
        (("--mode=eval",), "holds no checkpoint"),
    ],
)
def test_wrong_command_is_explained_in_a_sentence(nursery, tmp_path, flags, message):
    child = nursery.call(
        "child_runs:launch_main",
        ["launch.py", *DIGITS, "--workdir", str(tmp_path / "run"), *flags],
    )
    assert child.wait() in (1, 2), child.output
    assert message in child.output
    assert "Traceback" not in child.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "python launch.py --config"),
        (("--config", "configs/classification/lenet_digit.py"), "Did you mean"),
        (("--config", "configs/classification/lenet_digits.py:smok"), "Did you mean 'smoke'?"),
        (DIGITS, "--workdir is missing"),
    ],
)
def test_incomplete_command_says_what_is_missing(nursery, arguments, message):
    child = nursery.call("child_runs:launch_main", ["launch.py", *arguments])
    assert child.wait() == 2, child.output
    assert message in child.output


def test_workdir_of_another_config_is_refused_and_the_difference_shown(tmp_path):
    short = {"train": {"steps": 1, "checkpoint_every": 1}}
    loop.run(tiny_experiment(short), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="another config") as caught:
        loop.run(tiny_experiment({**short, "optim": {"lr": 0.01}}), tmp_path)
    assert "optim.lr: 0.05 there, 0.01 now" in str(caught.value)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_batch_that_the_devices_do_not_divide_is_refused_with_sizes_that_would_do():
    from cvjax.train.sharding import check_batch_size, make_mesh

    mesh = make_mesh(devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="a multiple of 3, such as 6 or 9"):
        check_batch_size(8, mesh, accumulate=3)
    check_batch_size(9, mesh, accumulate=3)


def test_run_stops_at_a_loss_that_is_not_finite_and_keeps_its_batch(tmp_path):
    changes = {
        "optim": {"lr": 1e30, "schedule": {"name": "constant"}},
        "train": {"steps": 12, "log_every": 4, "checkpoint_every": 1},
    }
    experiment = tiny_experiment(changes)
    with pytest.raises(NotFiniteError, match=r"not finite at step (\d+)") as caught:
        loop.run(experiment, tmp_path)
    files = list(tmp_path.glob("not_finite_step_*.npz"))
    assert len(files) == 1
    assert files[0].name in str(caught.value)
    dump = np.load(files[0])
    step = int(dump["step"])
    # The batch is the one that this step reads, on the host and as the model saw it.
    from cvjax.data.pipeline import Reading, train_batches

    reading = Reading(experiment.batch_size, np.arange(experiment.batch_size))
    batches = train_batches(experiment.train_source, reading, seed=experiment.seed, start_step=step)
    np.testing.assert_array_equal(dump["host_image"], next(batches)["image"])
    assert dump["device_image"].dtype == np.float32
    # Nothing that is not finite was saved.
    kept = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert kept
    assert max(kept) <= step
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["train/loss"]) for line in lines if "train/loss" in line)
