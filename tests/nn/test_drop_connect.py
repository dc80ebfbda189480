import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.drop_connect import DropConnectDense

PARAMS = {
    "kernel": jax.random.normal(jax.random.key(0), (3, 4)),
    "bias": jnp.array([10.0, -20.0, 30.0, -40.0]),
}


def run(x, *, rate=0.25, deterministic=False, params=PARAMS):
    layer = DropConnectDense(4, rate)
    rngs = {"dropout": jax.random.key(3)}
    return np.asarray(layer.apply({"params": params}, x, deterministic=deterministic, rngs=rngs))


def test_every_connection_of_every_example_is_lost_on_its_own():
    # Powers of two far apart: which connections are left can be read off each sum.
    x = jnp.tile(jnp.array([[1.0, 64.0, 4096.0]]), (2000, 1))
    params = {"kernel": jnp.ones((3, 4)), "bias": jnp.full(4, 2.0**18)}
    y = 0.75 * run(x, params=params)
    whole = np.rint(y).astype(int)
    np.testing.assert_allclose(whole, y, rtol=1e-6)
    kept = np.stack([(whole // scale) % 2 for scale in (1, 64, 4096, 2**18)])  # [4, B, 4]
    np.testing.assert_array_equal(np.tensordot([1, 64, 4096, 2**18], kept, 1), whole)
    # 5 standard deviations of a binomial share and of a covariance of independent shares.
    np.testing.assert_allclose(kept.mean(1), 0.75, atol=5 * (0.25 * 0.75 / 2000) ** 0.5)
    flat = kept.transpose(0, 2, 1).reshape(16, 2000)
    covariance = np.cov(flat) - np.diag(flat.var(1, ddof=1))
    assert np.abs(covariance).max() < 5 * 0.25 * 0.75 / 2000**0.5


def test_evaluation_and_rate_zero_are_the_dense_layer():
    x = jax.random.normal(jax.random.key(2), (1, 3))
    want = np.asarray(x) @ np.asarray(PARAMS["kernel"]) + np.asarray(PARAMS["bias"])
    np.testing.assert_allclose(run(x, deterministic=True), want, atol=1e-5)
    np.testing.assert_allclose(run(x, rate=0.0), want, atol=1e-5)


def test_rate_one_is_refused():
    with pytest.raises(ValueError, match="0 to below 1"):
        run(jnp.ones((1, 3)), rate=1.0)
