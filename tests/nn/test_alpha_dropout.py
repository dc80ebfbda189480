import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.alpha_dropout import SELU_LIMIT, AlphaDropout

X = jax.random.normal(jax.random.key(0), (1_000_000,))
RNGS = {"dropout": jax.random.key(1)}


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_mean_and_variance_stay_and_the_rest_is_affine(rate):
    y = np.asarray(AlphaDropout(rate).apply({}, X, deterministic=False, rngs=RNGS))
    # Standard errors of mean and variance of a million are 0.001 and 0.0014.
    assert abs(y.mean()) < 0.006
    assert abs(y.var() - 1) < 0.01
    # Dropped values share one value: the affine image of SELU's limit.
    values, counts = np.unique(y, return_counts=True)
    dropped = y == values[counts.argmax()]
    assert abs(dropped.mean() - rate) < 0.003
    slope, offset = np.polyfit(np.asarray(X, np.float64)[~dropped], y[~dropped], 1)
    np.testing.assert_allclose(y[~dropped], slope * X[~dropped] + offset, atol=1e-5)
    np.testing.assert_allclose(y[dropped][0], slope * SELU_LIMIT + offset, atol=1e-5)


def test_the_limit_is_selu_s():
    np.testing.assert_allclose(jax.nn.selu(jnp.float32(-100.0)), SELU_LIMIT, rtol=1e-6)


def test_evaluation_and_rate_zero_need_no_stream_and_change_nothing():
    x = X[:9]
    np.testing.assert_array_equal(AlphaDropout(0.5).apply({}, x, deterministic=True), x)
    np.testing.assert_array_equal(AlphaDropout(0.0).apply({}, x, deterministic=False), x)


def test_rate_one_is_refused():
    with pytest.raises(ValueError, match="0 to below 1"):
        AlphaDropout(1.0).apply({}, X[:9], deterministic=False, rngs=RNGS)
