from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import values_and_gradients

from cvjax.ops.layer_norm import layer_normalized

EPSILON = 1e-3
SHAPES = [(4, 3, 5, 6), (2, 7, 16), (6, 3), (5, 1, 2)]


def by_the_formula(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    wide = (1,) * (x.ndim - 1) + (-1,)
    return (x - mean) / jnp.sqrt(var + EPSILON) * scale.reshape(wide) + bias.reshape(wide)


def case(shape):
    rng = np.random.default_rng(0)
    x = 1 + 2 * rng.standard_normal(shape)
    scale, bias = rng.standard_normal((2, shape[-1]))
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, scale, bias))


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_every_gradient_are_those_of_the_formula(shape):
    arguments = case(shape)
    cotangent = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    got = values_and_gradients(lambda *a: layer_normalized(*a, EPSILON), arguments, cotangent)
    want = values_and_gradients(by_the_formula, arguments, cotangent)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_second_derivatives_are_those_of_the_formula():
    x, scale, bias = case(SHAPES[0])
    direction = jax.random.normal(jax.random.key(1), x.shape)

    @partial(jax.jit, static_argnums=0)
    def penalty(function):
        slope = jax.grad(lambda x: (function(x, scale, bias) ** 3).sum())
        return jax.grad(lambda x: (slope(x) * direction).sum())(x)

    want = penalty(by_the_formula)
    got = penalty(lambda *a: layer_normalized(*a, EPSILON))
    np.testing.assert_allclose(got, want, atol=1e-4 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("mean", [300, -4096])
def test_keeps_its_digits_far_from_zero(mean):
    # Each place's own mean is exact to a rounding of `mean`; the variance's digits are the point.
    x = jnp.asarray(mean + np.random.default_rng(0).standard_normal((16, 9, 64)), jnp.float32)
    exact = np.asarray(x, np.float64)
    want = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    got = layer_normalized(x, jnp.ones(64), jnp.zeros(64), 1e-12)
    np.testing.assert_allclose(got, want, atol=2e-6 * abs(mean))


def test_bfloat16_in_gives_float32_and_a_bfloat16_gradient():
    x, scale, bias = case(SHAPES[0])
    x = x.astype(jnp.bfloat16)
    got, pull = jax.vjp(lambda x: layer_normalized(x, scale, bias, EPSILON), x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, by_the_formula(x.astype(jnp.float32), scale, bias), atol=2e-5)
    assert pull(got)[0].dtype == jnp.bfloat16
