"""A convolution in two factors: over the map, channel by channel, then over the channels."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.initializers import HE_FAN_OUT


class SeparableConv(nn.Module):
    """A depthwise convolution, then a 1x1 one, neither with a bias and nothing between them.

    (Chollet 2016, https://arxiv.org/abs/1610.02357, section 1.2.) Each channel becomes
    `depth_multiplier` channels by as many windows; `padding=None` pads by half of the window.
    """

    channels: int
    window: int = 3
    stride: int = 1
    padding: int | None = None
    depth_multiplier: int = 1
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        made = {"use_bias": False, "kernel_init": self.kernel_init, "dtype": self.dtype}
        x = Conv(
            self.depth_multiplier * x.shape[-1],
            (self.window, self.window),
            strides=self.stride,
            padding=self.window // 2 if self.padding is None else self.padding,
            feature_group_count=x.shape[-1],
            name="depthwise",
            **made,
        )(x)
        return Conv(self.channels, (1, 1), name="pointwise", **made)(x)
