"""Black and white from shades of grey, for models of binary images."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Binarize = Literal["none", "threshold", "dynamic"]


def binarize(
    keys: Key[Array, " b"], image: Float[Array, "b h w c"], how: Binarize
) -> Float[Array, "b h w c"]:
    """Images of 0 and 1; `image` as it is for "none".

    "dynamic": each value is 1 with itself as the probability, drawn anew with every key
    (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks"), so
    that a training run never sees the same picture twice. "threshold": 1 from 0.5 on.
    """
    if how == "none":
        return image
    if how == "threshold":
        return (image >= 0.5).astype(jnp.float32)
    return jax.vmap(jax.random.bernoulli)(keys, image).astype(jnp.float32)
