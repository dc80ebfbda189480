"""Learning one batch by heart: closed form, a real network, and one that cannot."""

import json

import jax
import numpy as np
import pytest
from quadratic import parabola_experiment
from tiny_run import CLASSES, tiny_experiment

from cvjax.train.first_loss import guessing
from cvjax.train.overfit import memorise, overfit_one_batch, plain_experiment, read_memory
from cvjax.train.setup import batch_of_step, prepare
from cvjax.train.trials import as_trial


@pytest.fixture(scope="module")
def tiny():
    """(experiment, setup): regularised by every means in the config, 40 steps."""
    config = {
        "model": {"norm": False},
        "task": {"label_smoothing": 0.2, "l2": 0.1},
        "optim": {"accumulate": 1},  # compiles in half the time
        "ema": {"decay": None},
    }
    experiment = plain_experiment(as_trial(tiny_experiment(config), steps=40))
    return experiment, prepare(experiment)


def verdict_of(tiny, batch):
    experiment, setup = tiny
    records = memorise(experiment, setup, batch)
    text = read_memory(records, guessing(experiment.task), batch, setup, experiment.optim.lr)
    return records, text


def test_parabola_is_learnt_after_as_many_steps_as_the_formula_says(tmp_path):
    """At rate 0.1 and curvature 4 a step leaves 0.6^2 of the loss: 0.36^5 < 1% < 0.36^4."""
    text = overfit_one_batch(parabola_experiment(lr=0.1), tmp_path)
    lines = [
        json.loads(s) for s in (tmp_path / "overfit_one_batch.jsonl").read_text().split("\n")[:-1]
    ]
    assert "after 5 steps" in text
    losses = [line["train/loss"] for line in lines]
    np.testing.assert_allclose(losses, 18 * 0.36 ** np.arange(6), rtol=1e-5)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"overfit_one_batch.jsonl", "overfit_one_batch.png"}


def test_nothing_is_left_that_makes_one_batch_hard(tiny):
    experiment, _ = tiny
    assert experiment.task.model.dropout == 0
    assert (experiment.task.label_smoothing, experiment.task.l2) == (0, 0)
    assert experiment.optim.weight_decay == 0
    image = np.arange(128, dtype=np.uint8).reshape(2, 8, 8, 1)
    seen = experiment.train_transform(jax.random.key(1), {"image": image})["image"]
    np.testing.assert_allclose(seen, (image / 255 - 0.4) / 0.3, rtol=1e-5, atol=1e-6)


def test_network_learns_its_first_batch(tiny):
    experiment, setup = tiny
    batch = batch_of_step(experiment, setup.rows, 0)
    records, text = verdict_of(tiny, batch)
    assert text.startswith(f"Learnt: 8 examples by heart after {len(records) - 1} steps")
    assert records[-1]["train/accuracy"] == 1
    assert records[-1]["train/loss"] < 0.01 * np.log(CLASSES) < records[-2]["train/loss"]


def test_equal_images_with_different_labels_are_named_as_the_reason(tiny):
    batch = batch_of_step(tiny[0], tiny[1].rows, 0)
    batch = {"image": np.broadcast_to(batch["image"][:1], batch["image"].shape)}
    batch["label"] = np.arange(8, dtype=np.int32) % CLASSES
    records, text = verdict_of(tiny, batch)
    assert len(records) == 41
    entropy = np.log(8) - np.log(2) / 4  # of labels of which one comes twice: no answer costs less
    assert records[-1]["train/loss"] == pytest.approx(entropy, abs=0.05)
    assert text.startswith("Failed: after 40 steps on the same 8 examples")
    assert "8 examples of this batch are equal images with different labels" in text
