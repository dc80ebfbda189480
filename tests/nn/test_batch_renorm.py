import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.batch_renorm import BatchRenorm
from cvjax.nn.norm import BatchNorm

X = 2 + 3 * jax.random.normal(jax.random.key(0), (5, 4, 3))
PARAMS = {"scale": jnp.array([1.0, 0.5, -2.0]), "bias": jnp.array([0.0, 1.0, 3.0])}
MEAN, VAR = jnp.array([1.0, -4.0, 2.0]), jnp.array([9.0, 0.25, 100.0])


def stats(steps):
    return {"mean": MEAN, "var": VAR, "steps": jnp.int32(steps)}


def train(norm, x, steps):
    variables = {"params": PARAMS, "batch_stats": stats(steps)}
    y, updated = norm.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    return y, updated["batch_stats"]


def test_during_the_warm_up_it_is_batch_normalisation():
    plain = BatchNorm(momentum=0.99)
    variables = {"params": PARAMS, "batch_stats": {"mean": MEAN, "var": VAR}}
    want, updated = plain.apply(variables, X, use_running_average=False, mutable=["batch_stats"])
    y, after = train(BatchRenorm(warmup=10), X, 10)
    np.testing.assert_allclose(y, want, atol=1e-5)
    np.testing.assert_allclose(after["mean"], updated["batch_stats"]["mean"], rtol=1e-6)
    np.testing.assert_allclose(after["var"], updated["batch_stats"]["var"], rtol=1e-6)
    assert after["steps"] == 11


@pytest.mark.parametrize(
    ("steps", "r_max", "d_max"),
    # Three sevenths and three quarters of the way at 4 warmups; all of it from 8 on.
    [(40, 1 + 2 * 3 / 7, 5 * 3 / 4), (80, 3.0, 5.0), (10**6, 3.0, 5.0)],
)
def test_it_is_the_paper_s_algorithm_with_its_limits(steps, r_max, d_max):
    y, _ = train(BatchRenorm(warmup=10), X, steps)
    x = np.asarray(X, np.float64)
    mean, std = x.mean((0, 1)), np.sqrt(x.var((0, 1)) + 1e-5)
    running_std = np.sqrt(np.asarray(VAR, np.float64) + 1e-5)
    r = np.clip(std / running_std, 1 / r_max, r_max)
    d = np.clip((mean - np.asarray(MEAN)) / running_std, -d_max, d_max)
    # All three kinds of channel are there: within both limits, above and below r's.
    assert list(np.sign(r - std / running_std)) == [0, -1, 1]
    want = ((x - mean) / std * r + d) * np.array(PARAMS["scale"]) + np.array(PARAMS["bias"])
    np.testing.assert_allclose(y, want, atol=2e-5)


def test_within_the_limits_training_gives_what_evaluation_gives():
    norm = BatchRenorm(r_max=1e3, d_max=1e3, warmup=0)
    y, _ = train(norm, X, 0)
    variables = {"params": PARAMS, "batch_stats": stats(0)}
    want = norm.apply(variables, X, use_running_average=True)
    np.testing.assert_allclose(y, want, atol=1e-4)


def test_the_gradient_takes_the_corrections_for_constants():
    weight = jax.random.normal(jax.random.key(1), X.shape)
    norm = BatchRenorm(r_max=1e3, d_max=1e3, warmup=0)

    def plain(x):
        # r scales the gradient of batch normalisation; d and the running statistics have none.
        mean = x.mean((0, 1), keepdims=True)
        y = (x - mean) / jnp.sqrt(((x - mean) ** 2).mean((0, 1), keepdims=True) + 1e-5)
        r = np.sqrt((np.var(X, (0, 1)) + 1e-5) / (VAR + 1e-5)) * PARAMS["scale"]
        return (weight * y * r[None, None]).sum()

    found = jax.grad(lambda x: (train(norm, x, 0)[0] * weight).sum())(X)
    np.testing.assert_allclose(found, jax.grad(plain)(X), atol=1e-5)


def test_one_value_per_channel_is_an_error():
    with pytest.raises(ValueError, match="one value per channel"):
        train(BatchRenorm(), X[:1, :1], 0)
