"""Pixel distributions against sums over every value, SciPy's logistic and counted draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvjax.ops.pixel_distributions import LogisticMixture, bits_per_dim, pixel_distribution

CASES = {
    "bernoulli": dict(channels=3),
    "categorical": dict(channels=2, levels=4),
    "logistic_mixture": dict(channels=3, levels=3, components=2),
}


def case(kind, spread=1.0):
    """(distribution, parameters [P], every value of a pixel [N, C])."""
    options = CASES[kind]
    distribution = pixel_distribution(kind, **options)
    rng = np.random.default_rng(0)
    parameters = spread * rng.standard_normal(distribution.parameters).astype(np.float32)
    values = np.linspace(0, 1, options.get("levels", 2))
    every = np.array([*itertools.product(values, repeat=options["channels"])], np.float32)
    return distribution, jnp.asarray(parameters), every


def probabilities(distribution, parameters, every):
    parameters = jnp.broadcast_to(parameters, (len(every), parameters.size))
    return np.exp(np.float64(jax.jit(distribution.log_prob)(parameters, jnp.asarray(every))))


@pytest.mark.parametrize("spread", [1.0, 6.0])
@pytest.mark.parametrize("kind", CASES)
def test_probabilities_of_all_values_sum_to_one(kind, spread):
    assert probabilities(*case(kind, spread)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", CASES)
def test_draws_are_as_frequent_as_they_are_probable(kind):
    distribution, parameters, every = case(kind)
    expected = probabilities(distribution, parameters, every)
    draws = 20_000
    drawn = jax.jit(distribution.sample)(
        jax.random.key(1), jnp.broadcast_to(parameters, (draws, parameters.size))
    )
    near = np.abs(np.asarray(drawn)[:, None] - every[None]).max(axis=-1)
    assert near.min(axis=1).max() < 1e-6  # nothing else is drawn
    counts = np.bincount(near.argmin(axis=1), minlength=len(every))
    # Pearson's test: of right draws, one run in a thousand would fail; this one is fixed.
    alive = expected * draws > 5
    statistic = ((counts - draws * expected)[alive] ** 2 / (draws * expected)[alive]).sum()
    assert statistic < stats.chi2.ppf(0.999, alive.sum() - 1)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_mean_is_the_expectation(kind):
    distribution, parameters, every = case(kind)
    expected = probabilities(distribution, parameters, every) @ every
    np.testing.assert_allclose(distribution.mean(parameters[None])[0], expected, atol=1e-5)


def test_mixture_is_scipys_logistic_over_the_bins_of_256_levels():
    distribution = LogisticMixture(channels=1, levels=256, components=2)
    logits, means, log_scales = np.array([0.3, -0.5]), np.array([-0.9, 0.4]), np.array([-3.0, -1.0])
    parts = np.stack([means, log_scales], axis=1).ravel()
    parameters = jnp.asarray(np.concatenate([logits, parts]), jnp.float32)
    level = np.arange(256)
    x, half = 2 * level / 255 - 1, 1 / 255
    upper = np.where(level == 255, np.inf, x + half)
    lower = np.where(level == 0, -np.inf, x - half)
    weight = np.exp(logits) / np.exp(logits).sum()
    expected = sum(
        w * (stats.logistic.cdf(upper, m, np.exp(s)) - stats.logistic.cdf(lower, m, np.exp(s)))
        for w, m, s in zip(weight, means, log_scales)
    )
    pixels = (level / 255).astype(np.float32)[:, None]
    np.testing.assert_allclose(
        probabilities(distribution, parameters, pixels), expected, rtol=2e-4, atol=1e-12
    )
    assert float(distribution.mean(parameters[None])[0, 0]) == pytest.approx(
        weight @ (means + 1) / 2, abs=1e-6
    )


def test_far_from_every_component_the_gradient_is_finite_and_not_zero():
    distribution = LogisticMixture(channels=1, levels=256, components=1)
    parameters = jnp.array([[0.0, -1.0, -20.0]])  # as narrow as it gets, at the other end
    value_and_grad = jax.value_and_grad(lambda p, x: -distribution.log_prob(p, x).sum())
    loss, gradient = jax.jit(value_and_grad)(parameters, jnp.array([[0.9]]))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert abs(gradient[0, 1]) > 1


def test_a_channel_of_a_component_is_shifted_by_the_channel_before_it():
    distribution = LogisticMixture(channels=2, levels=3, components=1)
    every = np.array([*itertools.product([0, 0.5, 1], repeat=2)], np.float32)
    parameters = jnp.array([0.0, 0.0, 0.0, -1.0, -1.0, 0.5])  # 1 logit, 2 means, 2 scales, coupling
    joint = probabilities(distribution, parameters, every).reshape(3, 3)
    of_second = joint / joint.sum(axis=1, keepdims=True)
    for row, first in enumerate((-1, 0, 1)):
        cut = stats.logistic.cdf([-0.5, 0.5], np.tanh(0.5) * first, np.exp(-1))
        np.testing.assert_allclose(of_second[row], np.diff([0, *cut, 1]), rtol=1e-4)


def test_shares_of_a_bernoulli_cost_the_mean_over_draws():
    distribution = pixel_distribution("bernoulli", channels=1)
    logits = jnp.array([[0.7]])
    of_values = [float(distribution.log_prob(logits, jnp.array([[v]]))[0]) for v in (0.0, 1.0)]
    share = distribution.log_prob(logits, jnp.array([[0.3]]))[0]
    assert float(share) == pytest.approx(0.7 * of_values[0] + 0.3 * of_values[1], abs=1e-6)


def test_bits_per_dim_of_a_fair_coin_a_pixel_is_one():
    assert float(bits_per_dim(784 * jnp.log(jnp.array([2.0])), 784)[0]) == pytest.approx(1)


@pytest.mark.parametrize(
    "options", [{"kind": "normal"}, {"kind": "categorical", "levels": 1}, {"components": 0}]
)
def test_unknown_kinds_and_impossible_counts_are_refused(options):
    with pytest.raises(ValueError, match=r"bernoulli, categorical|at least 2"):
        pixel_distribution(**{"kind": "logistic_mixture", "channels": 1, **options})
