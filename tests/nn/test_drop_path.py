import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.drop_path import DropPath, linear_rates

X = jax.random.normal(jax.random.key(0), (4000, 2, 3))


def dropped(rate, x=X, seed=1):
    return DropPath(rate).apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})


def test_an_example_is_dropped_whole_or_scaled_whole():
    y = np.asarray(dropped(0.25))
    gone = (y == 0).all((1, 2))
    np.testing.assert_allclose(y[~gone], X[~gone] / 0.75, rtol=1e-6)
    # The share is binomial: 5 standard deviations.
    assert abs(gone.mean() - 0.25) < 5 * (0.25 * 0.75 / len(X)) ** 0.5


def test_another_key_drops_other_examples():
    assert not np.array_equal(dropped(0.5), dropped(0.5, seed=2))


def test_evaluation_and_rate_zero_need_no_stream_and_change_nothing():
    np.testing.assert_array_equal(DropPath(0.5).apply({}, X, train=False), X)
    np.testing.assert_array_equal(DropPath(0.0).apply({}, X, train=True), X)


def test_rate_one_is_zero_with_a_zero_gradient():
    y, pull = jax.vjp(lambda x: dropped(1.0, x), X)
    np.testing.assert_array_equal(y, 0 * X)
    np.testing.assert_array_equal(pull(jnp.ones_like(y))[0], 0 * X)


def test_kept_gradients_are_scaled_and_dropped_ones_zero():
    y, pull = jax.vjp(lambda x: dropped(0.25, x), X)
    slope = pull(jnp.ones_like(y))[0]
    np.testing.assert_allclose(slope, (y != 0) / 0.75, rtol=1e-6)


def test_bfloat16_stays_bfloat16():
    assert dropped(0.25, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        dropped(rate)


def test_rates_rise_linearly_from_nothing():
    np.testing.assert_allclose(linear_rates(0.3, 4), (0, 0.1, 0.2, 0.3))
    assert linear_rates(0.3, 1) == (0.0,)
