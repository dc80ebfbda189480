import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvjax.ops.gelu import gelu

X = np.concatenate([np.linspace(-12, 12, 481), [0.0, -1e-6, 1e3, -1e3]]).astype(np.float32)


def test_values_and_slopes_are_those_of_the_normal_distribution():
    exact = X.astype(np.float64)
    # 1 + erf keeps 7 digits of 1: below -3 the error is that, and the value next to nothing.
    np.testing.assert_allclose(gelu(jnp.asarray(X)), exact * stats.norm.cdf(exact), atol=1e-6)
    want = stats.norm.cdf(exact) + exact * stats.norm.pdf(exact)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(jnp.asarray(X)), want, atol=1e-6)


def test_forward_and_second_derivatives():
    x = jnp.asarray(X)
    wide = X.astype(np.float64)
    slopes = jax.jvp(gelu, (x,), (jnp.ones_like(x),))[1]
    np.testing.assert_allclose(slopes, jax.vmap(jax.grad(gelu))(x), atol=1e-6)
    # d/dx (Phi + x phi) = 2 phi - x^2 phi.
    want = (2 - wide**2) * stats.norm.pdf(wide)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(gelu)))(x), want, atol=1e-6)


@pytest.mark.parametrize("function", [gelu, jax.grad(lambda x: gelu(x).sum())])
def test_bfloat16_is_float32_rounded(function):
    x = jnp.asarray(X).astype(jnp.bfloat16)
    got = function(x)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, function(x.astype(jnp.float32)).astype(jnp.bfloat16))
