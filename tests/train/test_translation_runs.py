"""Image to image in the one loop: several devices agree, bfloat16 runs, a killed run goes on."""

import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from checkpoint_files import arrays_of, assert_close_arrays, assert_same_run, last_checkpoint
from test_scale import flat
from tiny_run import tiny_experiment

from cvjax.train.setup import prepare
from cvjax.train.sharding import place_batch

TINY = {
    "pix2pix": {
        "model": {"name": "pix2pix", "image_size": 16, "width": 2, "patch_layers": 1},
        "task": {"name": "pix2pix", "condition": "masked"},
    },
    "cycle_gan": {
        "model": {"name": "cycle_gan", "width": 2, "blocks": 1, "patch_layers": 1},
        "task": {"name": "cycle_gan", "condition": "edges", "pool_size": 3},
    },
    "srgan": {
        "model": {"name": "srgan", "width": 2, "blocks": 1, "discriminator_width": 2},
        "task": {"name": "super_resolution", "adversarial_weight": 0.001, "border": 2},
    },
}
RUN = {
    "data": {
        "name": "scenes", "image_size": 16, "channels": 3, "batch_size": 8,
        "options": {"num_examples": 16}, "augment": {}, "mean": None, "std": None,
    },
    # Small steps: where errors are absolute ones, a rounding turns a gradient's sign.
    "optim": {"name": "sgd", "lr": 0.001, "options": {}, "weight_decay": 0.0, "accumulate": 1,
              "schedule": {"name": "constant"}},
    "evals": {"test": {"split": "test", "every": 4}},
    "train": {"steps": 6, "log_every": 2, "checkpoint_every": 4, "early_stop": None, "monitor": ""},
}  # fmt: skip
DEVICES = (1, 2, 8)


def changes(name, **model):
    tiny = TINY[name]
    return {**RUN, **tiny, "model": {**tiny["model"], **model}}


def train_on_each_mesh(name: str, folder: str) -> None:
    """In a child with eight devices: the same steps on one, on two and on all."""
    for devices in DEVICES:
        experiment = tiny_experiment(changes(name))
        setup = prepare(experiment, devices=jax.devices()[:devices])
        state = setup.init()
        source = experiment.train_source
        for step in range(2):
            rows = [source[i] for i in range(step, step + 8)]
            batch = {"image": np.stack([row["image"] for row in rows])}
            state, report = setup.train_step(state, place_batch(batch, setup.mesh, 8))
        variables = flat({"params": state.params, "rest": state.mutable, "ema": state.ema})
        np.savez(Path(folder) / f"{devices}.npz", **variables, loss=report["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_training_is_the_same_on_several_devices(name, nursery, tmp_path):
    call = ("test_translation_runs:train_on_each_mesh", name, str(tmp_path))
    child = nursery.call(*call, devices=max(DEVICES))
    assert child.wait() == 0, child.output
    one, *others = (np.load(tmp_path / f"{devices}.npz") for devices in DEVICES)
    for other in others:
        assert_close_arrays(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_killed_run_in_bfloat16_ends_where_the_uninterrupted_one_ends(name, nursery, tmp_path):
    asked = changes(name, dtype="bfloat16")
    nursery.train(tmp_path / "whole", asked)
    child = nursery.launch(tmp_path / "cut", asked, kill_at=("open.*/4/seal.json", 0))
    assert child.wait() == -signal.SIGKILL, child.output
    nursery.train(tmp_path / "cut", asked)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    for path, array in arrays_of(last_checkpoint(tmp_path / "whole")).items():
        assert array.dtype.itemsize >= 4 or array.dtype.kind != "f", path
