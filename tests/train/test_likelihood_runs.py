"""Likelihood models in the one loop: killed and resumed, on several devices, in bfloat16."""

import signal

import numpy as np
import pytest
from checkpoint_files import arrays_of, assert_same_run, last_checkpoint, lines_of

TINY = {
    "vae": {
        "model": {"name": "vae", "image_shape": [8, 8, 1], "latent": 3, "widths": [8]},
        "task": {"name": "vae"},
    },
    "pixel_cnn": {
        "model": {
            "name": "gated_pixel_cnn", "image_shape": [8, 8, 1], "width": 4, "depth": 1,
            "first_window": 3, "hidden": 4, "dropout": 0.2,
        },
        "task": {"name": "autoregressive", "binarize": "dynamic"},
    },
    "conditional_pixel_cnn": {
        "model": {
            "name": "gated_pixel_cnn", "image_shape": [8, 8, 1], "width": 4, "depth": 1,
            "first_window": 3, "hidden": 4, "condition_classes": 7,
        },
        "task": {"name": "autoregressive", "binarize": "dynamic"},
    },
}  # fmt: skip
RUN = {
    "data": {"mean": None, "std": None, "augment": {}},
    # Moderate steps: a rounding grows as it is carried on.
    "optim": {"lr": 0.001, "accumulate": 1},
    "evals": {
        "test": {"split": "test", "every": 6},
        "drawn": {"split": "test", "every": 6, "evaluator": "samples", "options": {"count": 4}},
    },
    "train": {"steps": 12, "monitor": "test/loss", "monitor_mode": "min", "early_stop": None},
}


def changes(name, **model):
    tiny = TINY[name]
    return {**RUN, **tiny, "model": {**tiny["model"], **model}}


def figures(workdir):
    """{(step, name): value} of what was measured, without times."""
    return {
        (line["step"], name): value
        for line in lines_of(workdir)
        for name, value in line.items()
        if name.startswith(("train/", "test/")) and not name.endswith("per_second")
    }


@pytest.mark.slow  # a killed run of a GAN, and of a classifier, are fast tests
@pytest.mark.parametrize("name", ["vae", "pixel_cnn"])
def test_a_killed_run_ends_as_if_never_killed_its_pictures_too(name, nursery, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    nursery.train(whole, changes(name))
    child = nursery.launch(killed, changes(name), kill_at=("os.mkdir.*/10.orbax", 0))
    assert child.wait() == -signal.SIGKILL, child.output
    nursery.train(killed, changes(name))
    assert_same_run(killed, whole)
    assert any("ema" in path for path in arrays_of(last_checkpoint(whole)))
    for step in (6, 12):
        picture = f"samples/drawn_step_{step}.png"
        assert (killed / picture).read_bytes() == (whole / picture).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("name", TINY)
def test_several_devices_train_and_measure_as_one(name, devices, nursery, tmp_path):
    one, more = tmp_path / "one", tmp_path / "more"
    nursery.train(one, changes(name))
    nursery.train(more, changes(name), devices=devices)
    found, expected = figures(more), figures(one)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, err_msg=str(key))


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_bfloat16_trains_nearly_alike_and_keeps_float32_parameters(name, nursery, tmp_path):
    exact, low = tmp_path / "exact", tmp_path / "low"
    nursery.train(exact, changes(name))
    nursery.train(low, changes(name, dtype="bfloat16"))
    found, expected = figures(low)[12, "test/loss"], figures(exact)[12, "test/loss"]
    assert found != expected
    np.testing.assert_allclose(found, expected, rtol=0.02)
    for path, array in arrays_of(last_checkpoint(low)).items():
        assert array.dtype.itemsize >= 4 or array.dtype.kind != "f", path
