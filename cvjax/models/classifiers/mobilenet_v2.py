"""MobileNet v2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2).

3,504,872 parameters at 1000 classes and width 1, as in torchvision.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inverted_residual import InvertedResidual, divisible
from cvjax.ops.pool import global_avg_pool


class MobileNetV2(nn.Module):
    """3x3 stem, inverted residuals, 1x1 convolution, global average pooling, linear head.

    `width_multiplier` scales every width but that of the last convolution, which it only enlarges
    (section 5, "Trade-off hyper parameters"); widths are multiples of 8. Stage i repeats
    `stage_sizes[i]` blocks of `channels[i]`, the first of stride `strides[i]`, `expansions[i]`
    times as wide inside. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)
    channels: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
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
        table = zip(self.stage_sizes, self.channels, self.expansions, self.strides)
        for i, (blocks, channels, expansion, down) in enumerate(table, start=1):
            for j in range(1, blocks + 1):
                block = InvertedResidual(
                    divisible(channels * self.width_multiplier),
                    expanded=expansion * x.shape[-1],
                    stride=down if j == 1 else 1,
                    name=f"stage{i}_block{j}",
                    **shared,
                )
                x = block(x, train=train)
                stride *= block.stride
                features[f"stride{stride}"] = x
        last = divisible(1280 * max(1.0, self.width_multiplier))
        x = ConvNorm(last, 1, name="last", **shared)(x, train=train)
        features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        init = nn.initializers.normal(0.01)
        head = Dense(self.num_classes, kernel_init=init, dtype=jnp.float32, name="head")
        return head(x), features


VARIANTS = {"mobilenet_v2": (MobileNetV2, {})}
