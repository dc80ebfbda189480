"""Training sanity: losses that can reach zero do, and gradients are those of the loss."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from cvjax.tasks.classification import Classification


class Linear(nn.Module):
    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(self.num_classes, name="head")(image.reshape(image.shape[0], -1)), {}


def separable_batch():
    """Three clusters of 8 points around the corners of a triangle, as 1x2 images."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3, dtype=np.int32), 8)
    corners = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
    points = corners[label] + rng.uniform(-0.2, 0.2, (24, 2))
    image = jnp.asarray(points.reshape(24, 1, 2, 1), jnp.float32)
    return {"image": image, "label": jnp.asarray(label)}


@pytest.mark.parametrize("loss_name", ["hinge", "squared_hinge", "softmax"])
def test_linear_model_separates_a_separable_set(loss_name):
    batch, task = separable_batch(), Classification(Linear(), loss_name=loss_name)
    variables = jax.jit(task.init)(jax.random.key(0), batch)

    def step(variables, _):
        (loss, aux), grads = jax.value_and_grad(task.loss, has_aux=True)(variables, batch, {})
        variables = jax.tree.map(lambda w, g: w - 0.1 * g, variables, grads)
        return variables, (loss, aux["metrics"]["accuracy"])

    _, (loss, accuracy) = jax.jit(lambda v: jax.lax.scan(step, v, length=600))(variables)
    assert accuracy[-1] == 1
    if loss_name == "hinge":
        assert loss[-1] == 0  # nothing left to learn
    else:
        assert loss[-1] < 0.1 * loss[0]  # these approach 0 for ever


@pytest.mark.parametrize("loss_name", ["softmax", "sigmoid", "hinge", "squared_hinge"])
def test_gradient_of_the_whole_objective_equals_central_differences(loss_name):
    smoothing = 0.0 if "hinge" in loss_name else 0.1
    task = Classification(
        Linear(), loss_name=loss_name, label_smoothing=smoothing, l1=0.01, l2=0.02
    )
    with jax.enable_x64(True):
        batch = separable_batch()
        batch["image"] = batch["image"].astype(jnp.float64)
        batch |= {"mixed_label": batch["label"][::-1], "mix_weight": jnp.full(24, 0.3)}
        variables = jax.jit(task.init)(jax.random.key(1), batch)
        flat, unravel = ravel_pytree(
            jax.tree.map(lambda w: w.astype(jnp.float64) + 0.01, variables)
        )
        objective = jax.jit(lambda w: task.loss(unravel(w), batch, {})[0])
        grad = jax.grad(objective)(flat)
        numeric = [
            (objective(flat.at[i].add(1e-6)) - objective(flat.at[i].add(-1e-6))) / 2e-6
            for i in range(flat.size)
        ]
        # float64: rounding 1e-16 * 10 / 1e-6, curvature 1e-12
        np.testing.assert_allclose(grad, numeric, atol=1e-8)
