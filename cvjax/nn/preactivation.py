"""Residual blocks that normalise and activate before they convolve (He et al. 2016,
"Identity mappings in deep residual networks", https://arxiv.org/abs/1603.05027, fig. 4e).

Nothing but additions lies between a block's input and any later block's output.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.drop_path import DropPath
from cvjax.nn.initializers import HE_FAN_OUT
from cvjax.nn.norm import BatchNorm
from cvjax.ops.materialized import materialized

Shortcut = Literal["projection", "pad"]


class PreActBasicBlock(nn.Module):
    """x + BN - ReLU - conv 3x3 - BN - ReLU - dropout - conv 3x3.

    `shortcut`: where the shape changes, "projection" = 1x1 convolution of the activated input,
    "pad" = every second pixel and zero channels. `first`: the shortcut takes the activated
    input in any case, as in a network's first block (the paper's appendix).
    `dropout`: Zagoruyko & Komodakis 2016, https://arxiv.org/abs/1605.07146, fig. 1d.
    """

    width: int
    stride: int = 1
    shortcut: Shortcut = "projection"
    first: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        active = norm_relu(x, train=train, dtype=self.dtype, name="norm1")
        y = conv(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv1")(active)
        y = norm_relu(y, train=train, dtype=self.dtype, name="norm2")
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = conv(self.width, 3, dtype=self.dtype, name="conv2")(y)
        x = _shortcut(self, x, active, y)
        return materialized(x + DropPath(self.drop_path)(y, train=train))


class PreActBottleneck(nn.Module):
    """x + three times BN - ReLU - convolution: 1x1, 3x3, and 1x1 to 4 `width` channels.

    The 3x3 convolution carries the stride. Fields as in `PreActBasicBlock`.
    """

    width: int
    stride: int = 1
    shortcut: Shortcut = "projection"
    first: bool = False
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        active = norm_relu(x, train=train, dtype=self.dtype, name="norm1")
        y = conv(self.width, 1, dtype=self.dtype, name="conv1")(active)
        y = norm_relu(y, train=train, dtype=self.dtype, name="norm2")
        y = conv(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv2")(y)
        y = norm_relu(y, train=train, dtype=self.dtype, name="norm3")
        y = conv(4 * self.width, 1, dtype=self.dtype, name="conv3")(y)
        x = _shortcut(self, x, active, y)
        return materialized(x + DropPath(self.drop_path)(y, train=train))


def norm_relu(x: Array, *, train: bool, dtype: Any, name: str) -> Array:
    """relu(BatchNorm(x)); the norm is a submodule `name` of the calling module."""
    return nn.relu(BatchNorm(dtype=dtype, name=name)(x, use_running_average=not train))


def conv(channels: int, window: int, *, stride: int = 1, dtype: Any, name: str) -> nn.Conv:
    """A convolution without bias, padded by half of its window, with He's initial weights."""
    return Conv(
        channels,
        (window, window),
        strides=stride,
        padding=window // 2,
        use_bias=False,
        kernel_init=HE_FAN_OUT,
        dtype=dtype,
        name=name,
    )


def _shortcut(
    block: PreActBasicBlock | PreActBottleneck, x: Array, active: Array, y: Array
) -> Array:
    if x.shape != y.shape and block.shortcut == "projection":
        project = conv(y.shape[-1], 1, stride=block.stride, dtype=block.dtype, name="shortcut_conv")
        return project(active)
    if block.first:
        x = active
    missing = y.shape[-1] - x.shape[-1]
    x = x[:, :: block.stride, :: block.stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
