from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import values_and_gradients

from cvjax.ops.batch_norm import batch_moments, batch_normalized

EPSILON = 1e-3
SHAPES = [(4, 3, 5, 6), (2, 8, 8, 3), (5, 7, 2), (6, 3)]


def by_the_formulas(x, scale, bias):
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    wide = mean.shape
    y = (x - mean) / jnp.sqrt(var + EPSILON) * scale.reshape(wide) + bias.reshape(wide)
    return y, mean.ravel(), var.ravel()


def case(shape):
    rng = np.random.default_rng(0)
    x = 1 + 2 * rng.standard_normal(shape)
    scale, bias = rng.standard_normal((2, shape[-1]))
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, scale, bias))


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_every_gradient_are_those_of_the_formulas(shape):
    arguments = case(shape)
    # Of the moments as well: a loss may be of them.
    rng = np.random.default_rng(1)
    cotangents = tuple(
        rng.standard_normal(s).astype(np.float32) for s in (shape, shape[-1:], shape[-1:])
    )
    got = values_and_gradients(lambda *a: batch_normalized(*a, EPSILON), arguments, cotangents)
    want = values_and_gradients(by_the_formulas, arguments, cotangents)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_second_derivatives_are_those_of_the_formulas():
    x, scale, bias = case(SHAPES[0])
    direction = jax.random.normal(jax.random.key(1), x.shape)

    @partial(jax.jit, static_argnums=0)
    def penalty(function):
        slope = jax.grad(lambda x: (function(x, scale, bias)[0] ** 3).sum())
        return jax.grad(lambda x: (slope(x) * direction).sum())(x)

    want = penalty(by_the_formulas)
    got = penalty(lambda *a: batch_normalized(*a, EPSILON))
    np.testing.assert_allclose(got, want, atol=1e-4 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("mean", [0, 300, -4096])
def test_variance_keeps_its_digits_far_from_zero(mean):
    x = jnp.asarray(mean + np.random.default_rng(0).standard_normal((16, 9, 9, 4)), jnp.float32)
    exact = np.asarray(x, np.float64)
    got_mean, got_var = batch_moments(x)
    np.testing.assert_allclose(got_mean, exact.mean((0, 1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got_var, exact.var((0, 1, 2)), rtol=1e-5)


def test_variance_keeps_its_digits_where_the_first_rows_are_unlike_the_rest():
    x = np.random.default_rng(0).standard_normal((4, 16, 16, 3)).astype(np.float32)
    x[:, :2] += 1e4  # the eighth that the distances are taken from
    got = batch_moments(jnp.asarray(x))[1]
    np.testing.assert_allclose(got, x.astype(np.float64).var((0, 1, 2)), rtol=1e-5)


def test_constant_channels_have_no_variance():
    mean, var = batch_moments(jnp.full((3, 5, 5, 2), 0.1))
    np.testing.assert_allclose(mean, 0.1, rtol=1e-6)
    assert (var >= 0).all()
    assert (var < 1e-12).all()
