"""MobileNet v1: depthwise separable convolutions and nothing else (Howard et al. 2017,
https://arxiv.org/abs/1704.04861, table 1).

4,231,976 parameters at 1000 classes and width 1, as in timm and the paper's "4.2 million".
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inverted_residual import divisible
from cvjax.ops.pool import global_avg_pool


class MobileNetV1(nn.Module):
    """3x3 stem, blocks of a depthwise 3x3 and a 1x1 convolution, average pooling, linear head.

    Stage i has `stage_sizes[i]` blocks of `channels[i]`, the first of stride `strides[i]`.
    `width_multiplier` scales every width, to multiples of 8 (section 3.3); the resolution
    multiplier of section 3.4 is the size of the image. Any input size.

    Differs from the paper: ReLU6 in place of ReLU, and dropout before the head, as in the authors'
    and timm's code; the last block has stride 1, where table 1 says 2 and keeps 7x7.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (1, 2, 2, 6, 2)
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    strides: tuple[int, ...] = (1, 2, 2, 2, 2)
    width_multiplier: float = 1.0
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        shared = {"activation": nn.relu6, "dtype": self.dtype}
        width = divisible(32 * self.width_multiplier)
        x = ConvNorm(width, 3, 2, name="stem", **shared)(image, train=train)
        features, stride = {"stride2": x}, 2
        table = zip(self.stage_sizes, self.channels, self.strides)
        for i, (blocks, channels, down) in enumerate(table, start=1):
            for j in range(1, blocks + 1):
                x = Separable(
                    divisible(channels * self.width_multiplier),
                    stride=down if j == 1 else 1,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j}",
                )(x, train=train)
            stride *= down
            features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")
        head = Dense(self.num_classes, kernel_init=init, dtype=jnp.float32, name="head")
        return head(x), features


class Separable(nn.Module):
    """A 3x3 window for every channel, then 1x1, each with BN and ReLU6 (fig. 3, right)."""

    channels: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        shared = {"activation": nn.relu6, "dtype": self.dtype}
        width = x.shape[-1]
        depthwise = ConvNorm(width, 3, self.stride, groups=width, name="depthwise", **shared)
        x = depthwise(x, train=train)
        return ConvNorm(self.channels, 1, name="pointwise", **shared)(x, train=train)


VARIANTS = {
    f"mobilenetv1_{percent:03d}": (MobileNetV1, {"width_multiplier": percent / 100})
    for percent in (25, 50, 75, 100)
}
