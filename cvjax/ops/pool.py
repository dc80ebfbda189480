"""Pooling over the two spatial axes of [B, H, W, C] maps, with PyTorch's padding rules."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Maxima of the 2x2 blocks; a last odd row or column is dropped.

    A gradient goes in equal parts to all maxima of a block.
    """
    return jnp.max(_blocks(x), axis=(2, 4))


def avg_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Means of the 2x2 blocks; a last odd row or column is dropped."""
    return jnp.mean(_blocks(x), axis=(2, 4))


def _blocks(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 2 w2 2 c"]:
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels)
