"""Darknet-19 and Darknet-53, the backbones of YOLO.

darknet19: Redmon & Farhadi 2016, "YOLO9000", https://arxiv.org/abs/1612.08242, table 6;
20,842,376 parameters at 1000 classes. darknet53: Redmon & Farhadi 2018, "YOLOv3",
https://arxiv.org/abs/1804.02767, table 1; 41,609,928.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.ops.pool import global_avg_pool, max_pool

# timm's; the papers name none.
HEAD = nn.initializers.normal(0.01)


class Darknet19(nn.Module):
    """Stages of 3x3 convolutions with 1x1 ones of half the width between; max-pools between stages.

    Every convolution is followed by BatchNorm and a leaky ReLU of slope `negative_slope` below 0.
    Any input size from 2 ** (stages - 1), 32 pixels, on.

    Differs from the paper: the map is averaged before the last 1x1 convolution, not after; both
    are linear, so the scores are the same.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (1, 1, 3, 3, 5, 5)
    width: int = 32
    negative_slope: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        activation = functools.partial(nn.leaky_relu, negative_slope=self.negative_slope)
        features = {}
        x = image
        for i, layers in enumerate(self.stage_sizes):
            x = max_pool(x, window=2) if i else x
            width = self.width * 2**i
            for j in range(layers):
                conv = ConvNorm(
                    width // 2 if j % 2 else width,
                    window=1 if j % 2 else 3,
                    activation=activation,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_conv{j + 1}",
                )
                x = conv(x, train=train)
            features[f"stride{2**i}"] = x
        return _scores(self, x, features)


class Darknet53(nn.Module):
    """Stages of residual blocks, each behind a 3x3 convolution of stride 2 that doubles the width.

    Activations as in Darknet19, the sums without one. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (1, 2, 8, 8, 4)
    width: int = 32
    negative_slope: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        activation = functools.partial(nn.leaky_relu, negative_slope=self.negative_slope)
        conv = functools.partial(ConvNorm, activation=activation, dtype=self.dtype)
        features = {}
        x = conv(self.width, window=3, name="stem")(image, train=train)
        features["stride1"] = x
        for i, blocks in enumerate(self.stage_sizes, start=1):
            width = self.width * 2**i
            x = conv(width, window=3, stride=2, name=f"stage{i}_down")(x, train=train)
            for j in range(blocks):
                block = DarknetBlock(
                    self.negative_slope, dtype=self.dtype, name=f"stage{i}_block{j + 1}"
                )
                x = block(x, train=train)
            features[f"stride{2**i}"] = x
        return _scores(self, x, features)


class DarknetBlock(nn.Module):
    """x + conv 3x3 (conv 1x1 to half the width)."""

    negative_slope: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        activation = functools.partial(nn.leaky_relu, negative_slope=self.negative_slope)
        conv = functools.partial(ConvNorm, activation=activation, dtype=self.dtype)
        channels = x.shape[-1]
        y = conv(channels // 2, window=1, name="conv1")(x, train=train)
        return x + conv(channels, window=3, name="conv2")(y, train=train)


def _scores(
    model: Darknet19 | Darknet53, x: Array, features: dict[str, Array]
) -> tuple[Array | None, dict[str, Array]]:
    features["pooled"] = x = global_avg_pool(x)
    if model.num_classes is None:
        return None, features
    # The head and the logits are float32 whatever the compute type.
    head = Dense(model.num_classes, kernel_init=HEAD, dtype=jnp.float32, name="head")
    return head(x), features


VARIANTS = {"darknet19": (Darknet19, {}), "darknet53": (Darknet53, {})}
