"""Random keys that depend on what is in an example and not on where it stands."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


def content_keys(key: Key[Array, ""], image: Float[Array, "b *s"]) -> Key[Array, " b"]:
    """One key an example, from `key` and the bits of its image.

    So that an evaluation which draws noise gives the same figure whatever the batch size, the
    order and the number of devices. Equal images get equal keys.
    """
    bits = jax.lax.bitcast_convert_type(image.astype(jnp.float32), jnp.uint32)
    bits = bits.reshape(len(image), -1)  # [B, D]
    weights = np.random.default_rng(0).integers(0, 2**32, bits.shape[1], np.uint32) | 1
    # Low bits of a float32 are mostly 0: high ones are folded in before the sum, mod 2^32.
    mixed = (bits ^ (bits >> 15)) * jnp.asarray(weights)[None]
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, mixed.sum(axis=1, dtype=jnp.uint32))
