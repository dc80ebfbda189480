"""A GAN in the loop that every task runs in: killed and resumed, averaged, on several devices."""

import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from checkpoint_files import (
    arrays_of,
    assert_close_arrays,
    assert_same_run,
    last_checkpoint,
    lines_of,
)
from test_scale import flat
from tiny_run import tiny_experiment

from cvjax.train.setup import prepare
from cvjax.train.sharding import place_batch

# DCGAN with normalised players, classes, a critic that moves twice as often and is clipped.
DCGAN = {
    "model": {
        "name": "dcgan", "image_size": 16, "channels": 1, "width": 2, "latent_dim": 3,
        "conditional": True,
    },
    "task": {"name": "gan", "loss_name": "wasserstein"},
    "data": {
        "name": "digits", "image_size": 16, "augment": {"translate": {"fraction": 0.1}},
        "mean": None, "std": None,
    },
    "optim": {
        "name": "rmsprop", "lr": 0.002, "options": {}, "weight_decay": 0.0,
        "schedule": {"name": "constant"},
        "groups": [["generator/.*", {"every": 2}], [".*", {"clip_weights": 0.3}]],
    },
    "evals": {
        "samples": {"split": "test", "every": 4, "evaluator": "samples", "options": {"count": 4}}
    },
    "train": {
        "steps": 9, "log_every": 2, "checkpoint_every": 4, "early_stop": None, "monitor": "",
    },
}  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_ends_where_the_uninterrupted_one_ends(nursery, tmp_path):
    nursery.train(tmp_path / "whole", DCGAN)
    child = nursery.launch(tmp_path / "cut", DCGAN, kill_at=("open.*/8/seal.json", 0))
    assert child.wait() == -signal.SIGKILL, child.output
    nursery.train(tmp_path / "cut", DCGAN)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    for name in ("samples_step_4.png", "samples_step_9.png"):
        pictures = [(tmp_path / run / "samples" / name).read_bytes() for run in ("cut", "whole")]
        assert pictures[0] == pictures[1]
    arrays = arrays_of(last_checkpoint(tmp_path / "whole"))
    for part in ("generator", "discriminator"):
        assert any("batch_stats" in name and part in name for name in arrays)
        averaged = [n for n in arrays if "ema" in n and part in n and n.endswith("['kernel']")]
        assert averaged
        for name in averaged:
            live = name.replace("['ema']", "")
            assert np.any(arrays[name] != arrays[live]), name


DEVICES = (1, 2, 8)


def train_on_each_mesh(folder: str) -> None:
    """In a child with eight devices: the same steps on one, on two and on all."""
    changes = {
        **DCGAN,
        "optim": {**DCGAN["optim"], "name": "sgd", "lr": 0.01, "accumulate": 1},
        "data": {**DCGAN["data"], "batch_size": 8},
    }
    for devices in DEVICES:
        experiment = tiny_experiment(changes)
        setup = prepare(experiment, devices=jax.devices()[:devices])
        state = setup.init()
        for step in range(3):
            batch = experiment.train_source.batch(np.arange(8) + step)
            state, report = setup.train_step(state, place_batch(batch, setup.mesh, 8))
        variables = flat({"params": state.params, "stats": state.mutable, "ema": state.ema})
        np.savez(Path(folder) / f"{devices}.npz", **variables, loss=report["loss"])


@pytest.mark.slow
def test_training_is_the_same_on_several_devices(nursery, tmp_path):
    child = nursery.call("test_gan_run:train_on_each_mesh", str(tmp_path), devices=max(DEVICES))
    assert child.wait() == 0, child.output
    one, *others = (np.load(tmp_path / f"{devices}.npz") for devices in DEVICES)
    for other in others:
        assert_close_arrays(other, one, rtol=3e-5, atol=3e-6)


@pytest.mark.slow
def test_bfloat16_trains_nearly_alike_and_keeps_float32_parameters(nursery, tmp_path):
    exact, low = tmp_path / "exact", tmp_path / "low"
    changes = {**DCGAN, "train": {**DCGAN["train"], "steps": 4}}
    nursery.train(exact, changes)
    nursery.train(low, {**changes, "model": {**DCGAN["model"], "dtype": "bfloat16"}})
    found, expected = (
        [line["train/loss"] for line in lines_of(run) if "train/loss" in line]
        for run in (low, exact)
    )
    assert found != expected
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05)
    for path, array in arrays_of(last_checkpoint(low)).items():
        assert array.dtype.itemsize >= 4 or array.dtype.kind != "f", path


@pytest.mark.slow
def test_a_penalised_critic_covers_the_ring(tmp_path):
    """WGAN-GP, 1,500 steps of the config: the modes are all found, if not yet sharp."""
    from cvjax import build
    from cvjax.config import load
    from cvjax.train import loop

    config = load(str(Path(__file__).parents[2] / "configs/generation/wgan_gp_ring.py"))
    config.train.steps = 1500
    with jax.numpy_rank_promotion("allow"):
        outcome = loop.run(build.experiment(config), tmp_path)
    assert outcome.figures["test/modes"] == 8
    assert outcome.figures["test/high_quality"] > 0.1
