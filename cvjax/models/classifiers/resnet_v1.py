"""Bottleneck ResNets as Keras has them (He et al. 2015, https://arxiv.org/abs/1512.03385).

What sets them apart from `resnet50` and its kin: the stride is on a block's first 1x1 convolution,
as in the paper, every convolution has a bias, epsilon is 1.001e-5 and the statistics' momentum
0.99. Keras counts the running statistics among the parameters at 1000 classes: 25,636,712 /
44,707,176 / 60,419,944.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import global_avg_pool, max_pool


class ResNetV1(nn.Module):
    """Stem, stages of bottlenecks, global average pooling, linear head.

    `width`: channels of the stem and inside the first stage's blocks. Any input size.

    Differs from the paper: convolutions have biases, which the normalisation behind them makes
    idle, so that Keras' weights fit.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        x = _conv(self.width, 7, stride=2, dtype=self.dtype, name="stem")(image, train=train)
        features = {"stride2": x}
        x = max_pool(x, window=3, stride=2, padding=1)
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                x = Bottleneck(
                    self.width * 2**i,
                    stride=2 if i and not j else 1,
                    project=not j,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )(x, train=train)
            features[f"stride{4 * 2**i}"] = x
        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class Bottleneck(nn.Module):
    """relu(x + conv 1x1 - conv 3x3 - conv 1x1) (fig. 5, right); `project`: x goes through a 1x1."""

    width: int
    stride: int
    project: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        bare = {"activation": lambda y: y, "dtype": self.dtype}
        y = _conv(self.width, 1, stride=self.stride, dtype=self.dtype, name="conv1")(x, train=train)
        y = _conv(self.width, 3, dtype=self.dtype, name="conv2")(y, train=train)
        y = _conv(4 * self.width, 1, **bare, name="conv3")(y, train=train)
        if self.project:
            shortcut = _conv(4 * self.width, 1, stride=self.stride, **bare, name="shortcut")
            x = shortcut(x, train=train)
        return materialized(nn.relu(x + y))


def _conv(channels: int, window: int, *, stride: int = 1, **fields: Any) -> ConvNorm:
    keras = {"use_bias": True, "momentum": 0.99, "epsilon": 1.001e-5}
    return ConvNorm(channels, window, stride, **keras, **fields)


VARIANTS = {
    f"resnet{depth}_v1": (ResNetV1, {"stage_sizes": sizes})
    for depth, sizes in ((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3)))
}
