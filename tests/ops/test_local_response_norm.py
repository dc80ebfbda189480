import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cvjax.ops.local_response_norm import local_response_norm

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torch_local_response_norm.npz")


def double_loop(x, *, n, alpha, beta, k):
    """The paper's equation, term by term; n is odd."""
    out = np.empty_like(x, np.float64)
    channels = x.shape[-1]
    for place in np.ndindex(*x.shape[:-1]):
        for i in range(channels):
            total = 0.0
            for j in range(max(0, i - n // 2), min(channels - 1, i + n // 2) + 1):
                total += float(x[place][j]) ** 2
            out[place][i] = x[place][i] / (k + alpha * total) ** beta
    return out


@pytest.mark.parametrize("n", [1, 3, 5, 9])
def test_normalisation_is_the_papers_equation(n):
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 7)).astype(np.float32)
    got = local_response_norm(jnp.asarray(x), size=n, alpha=0.3, beta=0.75, k=2.0)
    np.testing.assert_allclose(
        got, double_loop(x, n=n, alpha=0.3, beta=0.75, k=2.0), rtol=1e-6, atol=0
    )


def test_defaults_are_the_papers_constants():
    x = 30 * np.random.default_rng(0).normal(size=(1, 2, 2, 8)).astype(np.float32)
    want = double_loop(x, n=5, alpha=1e-4, beta=0.75, k=2.0)
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)), want, rtol=1e-6, atol=0)


def test_averaging_agrees_with_torch():
    x = jnp.asarray(GOLDEN["input"])
    for i, case in enumerate(json.loads(str(GOLDEN["cases"]))):
        got = local_response_norm(x, **case, average=True)
        np.testing.assert_allclose(got, GOLDEN[f"out{i}"], rtol=1e-6, atol=1e-7, err_msg=str(case))


def test_gradient_agrees_with_differences():
    x = jax.random.normal(jax.random.key(0), (2, 6))

    def loss(x):  # check_grads' differences are taken at NumPy arrays
        return jnp.sin(local_response_norm(jnp.asarray(x), alpha=0.5, k=1.0)).sum()

    check_grads(loss, (x,), order=1, atol=1e-2, rtol=1e-2)


def test_half_precision_is_squared_in_float32():
    x = jnp.full((1, 1, 1, 5), 300, jnp.float16)  # whose square overflows
    got = local_response_norm(x, alpha=1.0, k=0.0, beta=0.5)[0, 0, 0]
    assert got.dtype == jnp.float16
    np.testing.assert_allclose(got, 1 / np.sqrt([3, 4, 5, 4, 3]), rtol=1e-3)


def test_no_channels_to_read_is_an_error():
    with pytest.raises(ValueError, match="reads 0 channels"):
        local_response_norm(jnp.ones((1, 3)), size=0)
