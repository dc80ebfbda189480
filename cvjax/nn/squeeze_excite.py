"""Squeeze-and-excitation: every channel scaled by what the whole map says of it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.initializers import HE_FAN_OUT
from cvjax.ops.pool import global_avg_pool


class SqueezeExcite(nn.Module):
    """`x` times a gate per channel (Hu et al. 2017, https://arxiv.org/abs/1709.01507, fig. 2).

    The gate is `gate(expand(activation(reduce(mean of x))))`. `width` is what the channels are
    reduced to; families round it differently, so the caller says the number.
    """

    width: int
    activation: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        made = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        gate = global_avg_pool(x)  # [B, C]
        gate = self.activation(Dense(self.width, name="reduce", **made)(gate))
        gate = self.gate(Dense(x.shape[-1], name="expand", **made)(gate))
        return x * gate[:, None, None, :]
