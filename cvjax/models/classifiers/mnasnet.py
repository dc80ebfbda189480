"""MnasNet-B1, found by a search that counts a phone's latency (Tan et al. 2018,
https://arxiv.org/abs/1807.11626, fig. 7 without squeeze-and-excitation).

Parameters at 1000 classes, as in torchvision: width 0.5 2,218,512, 0.75 3,170,208, 1.0 4,383,312,
1.3 6,282,256.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inverted_residual import InvertedResidual, divisible
from cvjax.ops.pool import global_avg_pool


class MnasNet(nn.Module):
    """Separable stem, inverted residuals, 1x1 convolution, global average pooling, linear head.

    Stage i repeats `stage_sizes[i]` blocks of `channels[i]` and window `windows[i]`, the first of
    stride `strides[i]`, `expansions[i]` times as wide inside. `width_multiplier` scales every width
    but the last convolution's; widths are multiples of 8. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (3, 3, 3, 2, 4, 1)
    channels: tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    windows: tuple[int, ...] = (3, 5, 5, 3, 5, 3)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    expansions: tuple[int, ...] = (3, 3, 6, 6, 6, 6)
    width_multiplier: float = 1.0
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        # The statistics keep 0.9997 of their old value, as in torchvision and TensorFlow.
        shared = {"momentum": 0.9997, "dtype": self.dtype}
        width = divisible(32 * self.width_multiplier)
        x = ConvNorm(width, 3, 2, name="stem", **shared)(image, train=train)
        x = InvertedResidual(
            divisible(16 * self.width_multiplier),
            expanded=width,
            activation=nn.relu,
            name="stem_block",
            **shared,
        )(x, train=train)
        features, stride = {"stride2": x}, 2
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                block = InvertedResidual(
                    divisible(self.channels[i] * self.width_multiplier),
                    expanded=self.expansions[i] * x.shape[-1],
                    window=self.windows[i],
                    stride=self.strides[i] if j == 0 else 1,
                    activation=nn.relu,
                    name=f"stage{i + 1}_block{j + 1}",
                    **shared,
                )
                x = block(x, train=train)
                stride *= block.stride
                features[f"stride{stride}"] = x
        x = ConvNorm(1280, 1, name="last", **shared)(x, train=train)
        features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # He's, for a sigmoid (gain 1), from the fan-out: as in torchvision.
        init = nn.initializers.variance_scaling(1.0, "fan_out", "uniform")
        head = Dense(self.num_classes, kernel_init=init, dtype=jnp.float32, name="head")
        return head(x), features


VARIANTS = {
    f"mnasnet{name}": (MnasNet, {"width_multiplier": width})
    for name, width in (("0_5", 0.5), ("0_75", 0.75), ("1_0", 1.0), ("1_3", 1.3))
}
