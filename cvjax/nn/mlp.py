"""The two dense layers of a transformer's block."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.initializers import SMALL_NORMAL
from cvjax.ops.gelu import gelu


class Mlp(nn.Module):
    """Dense to `hidden`, GELU (exact, by erf), dense back to the width of `x`.

    `dropout` follows both layers (stream "dropout").
    """

    hidden: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"], *, train: bool) -> Float[Array, "*b d"]:
        dense = {"kernel_init": SMALL_NORMAL, "dtype": self.dtype}
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = Dense(self.hidden, name="fc1", **dense)(x)
        y = drop(gelu(y))
        return drop(Dense(x.shape[-1], name="fc2", **dense)(y))
