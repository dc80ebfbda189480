import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import values_and_gradients

from cvjax.ops.attention import attention

SHAPE = (2, 5, 3, 4)  # batch, tokens, heads, width
BIASES = {
    "none": None,
    "shared": jax.random.normal(jax.random.key(7), (1, 3, 5, 5)),
    "of each": jax.random.normal(jax.random.key(8), (2, 3, 5, 5)),
}


def qkv(scale=1.0):
    return tuple(
        scale * jax.random.normal(key, SHAPE) for key in jax.random.split(jax.random.key(0), 3)
    )


@pytest.mark.parametrize("bias", BIASES)
def test_values_and_every_gradient_agree_with_jax(bias):
    bias = BIASES[bias]
    arguments = (*qkv(), *(() if bias is None else (bias,)))
    cotangent = jax.random.normal(jax.random.key(1), SHAPE)
    got = values_and_gradients(attention, arguments, cotangent)
    want = values_and_gradients(jax.nn.dot_product_attention, arguments, cotangent)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_fewer_keys_than_queries():
    q, k, v = qkv()
    want = jax.nn.dot_product_attention(q, k[:, :3], v[:, :3])
    np.testing.assert_allclose(attention(q, k[:, :3], v[:, :3]), want, atol=1e-6)


def test_large_scores_do_not_overflow():
    q, k, v = qkv(100.0)
    want = jax.nn.dot_product_attention(q, k, v)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(attention(q, k, v), want, rtol=1e-4)


def test_hidden_keys_take_and_give_nothing():
    q, k, v = qkv()
    bias = jnp.zeros((1, 3, 5, 5)).at[..., 4].set(-jnp.inf)
    want = attention(q, k[:, :4], v[:, :4])
    np.testing.assert_allclose(attention(q, k, v, bias), want, atol=1e-6)
    gradients = jax.grad(lambda k, v: (attention(q, k, v, bias) ** 2).sum(), argnums=(0, 1))(k, v)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[:, 4], 0)
        assert (np.abs(gradient[:, :4]) > 0).all()


def test_drops_weights_that_are_already_normalised():
    # Dropout of half of the weights: each of 5 is either doubled or gone, the sum before stays.
    q, k = (jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))) for x in qkv()[:2])
    v = jnp.broadcast_to(jnp.eye(5)[None, :, None], (2, 5, 3, 5))  # the result is the weights
    kept = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 3, 5, 5))
    got = attention(q, k, v, drop=lambda w: jnp.where(kept, 2 * w, 0))
    want = jnp.where(kept.transpose(0, 2, 1, 3), 2 * attention(q, k, v), 0)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_forward_derivatives():
    q, k, v = qkv()
    ones = tuple(jnp.ones(SHAPE) for _ in range(3))
    _, got = jax.jvp(attention, (q, k, v), ones)
    _, want = jax.jvp(jax.nn.dot_product_attention, (q, k, v), ones)
    np.testing.assert_allclose(got, want, atol=2e-6)
