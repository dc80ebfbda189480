"""Equal scores cost what the closed forms say, and the verdict on the first loss knows it."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny_experiment

import cvjax.models
from cvjax.tasks.classification import Classification
from cvjax.train.first_loss import log_first_loss


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loss_name": "softmax", "label_smoothing": 0.1}, np.log(5)),
        ({"loss_name": "sigmoid"}, 5 * np.log(2)),
        ({"loss_name": "hinge"}, 4),
        ({"loss_name": "hinge", "margin": 2.0, "reduction": "sum", "l1": 1.0}, 8),
        ({"loss_name": "softmax", "class_weights": (1.0, 2.0, 3.0, 4.0, 5.0)}, np.log(5)),
    ],
)
def test_network_of_zeros_starts_at_guessing_and_one_of_large_weights_above(options, expected):
    task = Classification(cvjax.models.create("linear", num_classes=5), **options)
    batch = {"image": jnp.full((3, 2, 2, 1), 0.5), "label": jnp.asarray([0, 3, 4])}
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    experiment = dataclasses.replace(tiny_experiment(), task=task, batch_size=3)

    first_step = jax.jit(lambda variables: task.loss(variables, batch)[1]["metrics"])

    def verdict(weight):
        changed = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        for leaf in jax.tree.leaves(changed):
            leaf[..., 0] = weight
        return log_first_loss(experiment, first_step(changed))

    equal = verdict(0.0)
    assert equal.verdict == "initial loss as expected"
    assert equal.figures["first_loss"] == pytest.approx(expected, rel=1e-5)
    assert equal.figures["chance_loss"] == pytest.approx(expected, rel=1e-12)
    assert verdict(30.0).verdict == "high initial loss"  # sure of class 0, which one of three has


def test_a_stage_may_start_with_what_the_one_before_learnt():
    fresh = tiny_experiment()
    later = dataclasses.replace(fresh, stage_before=Path("stage1_head"))
    assert log_first_loss(fresh, {"loss": 0.01}).verdict == "low initial loss"
    assert log_first_loss(later, {"loss": 0.01}).verdict == "initial loss as expected"
