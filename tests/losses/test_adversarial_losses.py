"""Losses of two players against closed forms of the games that they play."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses.adversarial import LOSSES, gradient_penalty

SCORES = np.linspace(-6, 6, 25).astype(np.float32)
P, Q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])  # real and made


def plain(name: str, which: str, score: float) -> float:
    """One value as the paper writes it, in float64."""
    d = 1 / (1 + np.exp(-np.float64(score)))
    return {
        ("minimax", "real"): -np.log(d),
        ("minimax", "fake"): -np.log(1 - d),
        ("minimax", "generator"): np.log(1 - d),
        ("non_saturating", "generator"): -np.log(d),
        ("least_squares", "real"): (score - 1) ** 2 / 2,
        ("least_squares", "fake"): score**2 / 2,
        ("least_squares", "generator"): (score - 1) ** 2 / 2,
        ("wasserstein", "real"): -score,
        ("wasserstein", "fake"): score,
        ("wasserstein", "generator"): -score,
        ("hinge", "real"): max(0, 1 - score),
        ("hinge", "fake"): max(0, 1 + score),
        ("hinge", "generator"): -score,
    }[name, which]


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_the_paper(name):
    for which in ("real", "fake", "generator"):
        of = "minimax" if name == "non_saturating" and which != "generator" else name
        found = getattr(LOSSES[name], which)(jnp.asarray(SCORES))
        expected = [plain(of, which, float(score)) for score in SCORES]
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6, err_msg=which)


@pytest.mark.parametrize("name", LOSSES)
def test_far_scores_and_half_precision_stay_finite_float32(name):
    far = jnp.array([-1e4, 1e4], jnp.bfloat16)
    for loss in LOSSES[name]:
        value, slope = jax.value_and_grad(lambda x, loss=loss: loss(x).sum())(far)
        assert value.dtype == jnp.float32
        assert np.isfinite([value, *slope.astype(jnp.float32)]).all()


def discriminator_value(name: str, scores: np.ndarray) -> jax.Array:
    """Expectation over pictures 0 to 3, real by P and made by Q."""
    loss = LOSSES[name]
    return (P * loss.real(scores)).sum() + (Q * loss.fake(scores)).sum()


def test_the_best_discriminator_of_minimax_tells_the_jensen_shannon_divergence():
    """Goodfellow et al. 2014, proposition 1 and theorem 1: D = p / (p + q), 2 log 2 - 2 JSD."""
    best = jnp.asarray(np.log(P / Q))
    m = (P + Q) / 2
    jsd = (P * np.log(P / m)).sum() / 2 + (Q * np.log(Q / m)).sum() / 2
    value, slope = jax.value_and_grad(lambda s: discriminator_value("minimax", s))(best)
    assert value == pytest.approx(2 * np.log(2) - 2 * jsd, abs=1e-6)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_the_best_discriminator_of_least_squares_is_the_share_of_real():
    """Mao et al. 2017, equation 4 with a = 0 and b = 1."""
    slope = jax.grad(lambda s: discriminator_value("least_squares", s))(jnp.asarray(P / (P + Q)))
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_hinge_and_wasserstein_are_about_the_same_difference_of_means():
    inside = jnp.asarray([-0.5, 0.2, 0.9, 0.4])
    difference = (Q * inside).sum() - (P * inside).sum()
    assert discriminator_value("wasserstein", inside) == pytest.approx(float(difference), abs=1e-6)
    assert discriminator_value("hinge", inside) == pytest.approx(2 + float(difference), abs=1e-6)


def test_a_beaten_generator_learns_by_the_non_saturating_loss_alone():
    beaten = jnp.float32(-8.0)
    assert abs(jax.grad(LOSSES["minimax"].generator)(beaten)) < 1e-3
    assert jax.grad(LOSSES["non_saturating"].generator)(beaten) == pytest.approx(-1, abs=1e-3)


def test_penalty_of_a_linear_critic_is_that_of_its_slope():
    real, fake = jax.random.normal(jax.random.key(0), (2, 5, 2, 2, 1))
    weights = jnp.array([3.0, 0, 0, 4]).reshape(1, 2, 2, 1)
    found = gradient_penalty(lambda x: (weights * x).sum((1, 2, 3)), jax.random.key(1), real, fake)
    np.testing.assert_allclose(found, np.full(5, 16.0), rtol=1e-6)


def test_penalty_is_taken_at_each_examples_own_point_between():
    """A critic |x|^2 / 2, whose slope is the point; each example by itself, in a loop."""
    real, fake = jax.random.normal(jax.random.key(0), (2, 6, 3, 1, 1))
    key = jax.random.key(2)
    found = gradient_penalty(lambda x: 0.5 * jnp.square(x).sum((1, 2, 3)), key, real, fake)
    for i in range(6):
        share = float(jax.random.uniform(jax.random.fold_in(key, i)))
        point = share * np.asarray(real[i]) + (1 - share) * np.asarray(fake[i])
        assert found[i] == pytest.approx((np.linalg.norm(point) - 1) ** 2, rel=1e-5)
    shares = [float(jax.random.uniform(jax.random.fold_in(key, i))) for i in range(6)]
    assert len(set(shares)) == 6


def test_penalty_of_a_flat_critic_is_one_with_a_finite_gradient():
    real, fake = jnp.ones((2, 3, 1, 1, 2))

    def penalty(scale):
        return gradient_penalty(lambda x: scale * x.sum((1, 2, 3)), jax.random.key(0), real, fake)

    np.testing.assert_array_equal(penalty(jnp.float32(0.0)), np.ones(3))
    assert np.isfinite(jax.grad(lambda s: penalty(s).sum())(jnp.float32(0.0)))


def test_penalty_reaches_the_critics_parameters():
    """d/da (|a w| - 1)^2 = 2 (|a w| - 1) |w|: a gradient through a gradient."""
    real, fake = jnp.ones((2, 1, 1, 1, 2))

    def penalty(a):
        critic = lambda x: a * (jnp.array([3.0, 4.0]).reshape(1, 1, 1, 2) * x).sum((1, 2, 3))  # noqa: E731
        return gradient_penalty(critic, jax.random.key(0), real, fake).sum()

    assert jax.grad(penalty)(jnp.float32(2.0)) == pytest.approx(2 * (10 - 1) * 5, rel=1e-5)


def test_penalty_of_two_shapes_says_what_to_set():
    with pytest.raises(ValueError, match="image_size"):
        gradient_penalty(lambda x: x.sum(), jax.random.key(0), jnp.ones((2, 4)), jnp.ones((2, 5)))
