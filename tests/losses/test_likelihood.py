"""The KL against numerical integration, the bounds against a model whose likelihood is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cvjax.losses.likelihood import (
    gaussian_kl,
    gaussian_kl_by_dimension,
    gaussian_log_density,
    importance_bound,
)

MEAN = jnp.array([[0.0, 1.5, -2.0], [0.3, 0.0, 0.0]])
LOG_VARIANCE = jnp.array([[0.0, -2.0, 1.0], [0.5, 0.0, -4.0]])


def test_kl_is_the_integral_that_defines_it():
    def integral(mean, log_variance):
        q = stats.norm(mean, np.exp(log_variance / 2))
        reach = 12 * q.std()
        value, _ = integrate.quad(
            lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)),
            mean - reach, mean + reach, points=[mean],
        )  # fmt: skip
        return value

    expected = np.vectorize(integral)(np.float64(MEAN), np.float64(LOG_VARIANCE))
    found = gaussian_kl_by_dimension(MEAN, LOG_VARIANCE)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gaussian_kl(MEAN, LOG_VARIANCE), expected.sum(1), rtol=1e-5)


def test_kl_of_the_prior_is_zero_with_zero_gradient():
    zeros = jnp.zeros((1, 4))
    value, gradient = jax.value_and_grad(lambda m: gaussian_kl(m, zeros).sum())(zeros)
    assert value == 0
    assert not np.any(gradient)


def test_log_density_is_scipys():
    x = jnp.array([[0.1, -1.0, 2.0], [0.0, 0.5, 0.2]])
    expected = stats.norm(np.float64(MEAN), np.exp(np.float64(LOG_VARIANCE) / 2)).logpdf(x).sum(1)
    np.testing.assert_allclose(gaussian_log_density(x, MEAN, LOG_VARIANCE), expected, rtol=1e-5)


def test_bounds_rise_with_samples_to_the_likelihood_that_is_known():
    """x = z + noise of unit variance, so x ~ N(0, 2); q is too narrow on purpose."""
    x, repeats = 0.7, 4000
    truth = stats.norm(0, np.sqrt(2)).logpdf(x)
    mean, log_variance = 0.2, np.log(0.3)

    @functools.partial(jax.jit, static_argnums=0)
    def bound(samples):
        z = mean + np.sqrt(0.3) * jax.random.normal(jax.random.key(0), (samples, repeats, 1))
        zero = jnp.zeros_like(z)
        weights = (
            gaussian_log_density(jnp.full_like(z, x), z, zero)
            + gaussian_log_density(z, zero, zero)
            - gaussian_log_density(z, zero + mean, zero + log_variance)
        )
        return importance_bound(weights).mean()

    elbo, some, many = (float(bound(samples)) for samples in (1, 8, 128))
    assert elbo < some < many < truth + 0.01
    assert many == pytest.approx(truth, abs=0.02)
    # E log p(x | z) - KL, in closed form: the variance of q enters the first as -1/2 of it
    closed = stats.norm.logpdf(x, mean) - 0.3 / 2
    closed -= float(gaussian_kl(jnp.array([[mean]]), jnp.array([[log_variance]]))[0])
    assert elbo == pytest.approx(closed, abs=0.02)


def test_huge_weights_do_not_overflow():
    assert float(importance_bound(jnp.array([[1000.0], [1000.0]]))[0]) == pytest.approx(1000.0)
    assert float(importance_bound(jnp.array([[-1000.0], [-900.0]]))[0]) == pytest.approx(
        -900 - np.log(2), rel=1e-6
    )
