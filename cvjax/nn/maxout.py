"""Maxout units (Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense


class Maxout(nn.Module):
    """The largest of `pieces` linear maps of `x`, for each of `features` units (eq. 1).

    One dense layer of `pieces` times the width, so with two pieces it has twice the parameters of
    a dense layer with a fixed nonlinearity. The pieces of a unit lie next to each other.
    """

    features: int
    pieces: int = 2
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b k"]:
        width = self.features * self.pieces
        y = Dense(width, kernel_init=self.kernel_init, dtype=self.dtype, name="pieces")(x)
        return y.reshape(*y.shape[:-1], self.features, self.pieces).max(axis=-1)
