"""Updates that wait for all gradients: the same numbers, and no copy of what is overwritten."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvjax.train.updates import apply_updates

WIDTHS = (48, 64, 32, 8)


def mlp(params, x):
    for kernel in params[:-1]:
        x = jax.nn.relu(x @ kernel)
    return x @ params[-1]


@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_parameters_are_those_of_optax_to_the_last_bit(bad):
    rng = np.random.default_rng(0)

    def values():
        return {
            "kernel": jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
            "half": jnp.asarray(rng.normal(size=3), jnp.bfloat16),
            "scale": jnp.asarray(rng.normal(), jnp.float32),
            "empty": jnp.zeros((0, 2)),
            "frozen": None,
        }

    params, updates, gradients = values(), values(), values()
    if bad is not None:  # whatever else is to become of it, is the optimizer's decision
        gradients["kernel"] = jnp.full((5, 4), bad, jnp.float32)
    want = optax.apply_updates(params, updates)
    got = jax.jit(apply_updates)(params, updates, gradients)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert jax.tree.leaves(apply_updates({}, {}, {})) == []


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="where XLA copies is the CPU's concern")
def test_donated_kernels_are_overwritten_without_a_copy():
    def step(apply):
        def run(params, x):
            gradients = jax.grad(lambda params: jnp.sum(mlp(params, x) ** 2))(params)
            updates = jax.tree.map(lambda g: -0.1 * g, gradients)
            return apply(params, updates, gradients)

        kernels = [jnp.ones(shape) for shape in itertools.pairwise(WIDTHS)]
        text = jax.jit(run, donate_argnums=0).lower(kernels, jnp.ones((4, WIDTHS[0]))).compile()
        return re.findall(r"copy\(%params[\w.]*\)", text.as_text())

    assert step(apply_updates) == []
    # If XLA one day does without, so can apply_updates.
    assert step(lambda params, updates, _: optax.apply_updates(params, updates)) != []
