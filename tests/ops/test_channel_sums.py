import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.channel_sums import channel_sums


# Whole chunks, a rest, less than a chunk, one place, and no space at all.
@pytest.mark.parametrize(
    "shape", [(3, 4, 6, 5), (2, 5, 5, 3), (2, 2, 3, 4), (4, 1, 1, 2), (3, 19, 2), (6, 3)]
)
def test_sums_are_numpys(shape):
    a, b = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    axes = tuple(range(len(shape) - 1))
    sums = channel_sums(jnp.asarray(a), jnp.asarray(b * b))
    for got, want in zip(sums, (a, b * b)):
        np.testing.assert_allclose(got, want.sum(axes, dtype=np.float64), atol=1e-5)


def test_bfloat16_is_summed_in_float32():
    ones = jnp.ones((2, 64, 64, 1), jnp.bfloat16)  # bfloat16 counts to 256
    assert channel_sums(ones)[0] == 8192


def test_gradient_reaches_every_place_once():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 2))
    weight = jnp.array([2.0, -1.0])

    def weighted(x):
        first, second = channel_sums(x, x**2)
        return (first * weight).sum() + (second * weight).sum()

    np.testing.assert_allclose(
        jax.grad(weighted)(x), (1 + 2 * x) * weight.reshape(1, 1, 1, 2), rtol=1e-6
    )
