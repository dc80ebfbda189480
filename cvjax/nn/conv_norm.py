"""Convolution, normalisation and nonlinearity in one."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.initializers import HE_FAN_OUT
from cvjax.nn.norm import BatchNorm

Pair = int | tuple[int, int]


class ConvNorm(nn.Module):
    """`activation(BatchNorm(convolution of x))`, the convolution without a bias unless asked.

    Integers stand for (height, width) alike. `padding=None` pads by half of the (odd) window on
    every side, so that stride 1 keeps the map's size; 0 is "valid"; "SAME" is TensorFlow's, which
    with a stride pads less at the top and left.
    """

    channels: int
    window: Pair = 1
    stride: Pair = 1
    padding: Pair | Literal["SAME"] | None = None
    groups: int = 1
    use_bias: bool = False
    activation: Callable[[Array], Array] = nn.relu
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        window = _pair(self.window)
        padding = self.padding
        if padding != "SAME":
            pad = _pair(padding) if padding is not None else (window[0] // 2, window[1] // 2)
            padding = [(pad[0], pad[0]), (pad[1], pad[1])]
        x = Conv(
            self.channels,
            window,
            strides=_pair(self.stride),
            padding=padding,
            feature_group_count=self.groups,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        norm = BatchNorm(
            momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype, name="norm"
        )
        return self.activation(norm(x, use_running_average=not train))


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
