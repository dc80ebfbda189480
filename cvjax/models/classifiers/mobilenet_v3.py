"""MobileNet v3 (Howard et al. 2019, https://arxiv.org/abs/1905.02244, tables 1 and 2).

Parameters at 1000 classes, as in torchvision: large 5,483,032, small 2,542,856. `_reduced` is the
large one whose last stage is half as wide (section 6.3), the backbone of detectors.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inverted_residual import InvertedResidual, divisible
from cvjax.ops.pool import global_avg_pool


class MobileNetV3(nn.Module):
    """3x3 stem, inverted residuals, 1x1 convolution, average pooling, a hidden layer, linear head.

    Stage i repeats `stage_sizes[i]` blocks of `channels[i]` and window `windows[i]`, the first of
    stride `strides[i]`; `gated[i]`: they have squeeze-and-excitation, `swish[i]`: hard swish in
    place of ReLU. `expanded`: inner widths, a number a block. `hidden`: width of the dense layer
    below the head; None leaves it out, and `pooled` is the global average. Any input size.

    With `expansions`, `features` also has "stride16_expanded" and the like: what the first block of
    the next stride has widened, before its stride.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    channels: tuple[int, ...]
    windows: tuple[int, ...]
    strides: tuple[int, ...]
    gated: tuple[bool, ...]
    swish: tuple[bool, ...]
    expanded: tuple[int, ...]
    hidden: int | None
    dropout: float = 0.2
    expansions: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        shared = {"epsilon": 1e-3, "momentum": 0.99, "dtype": self.dtype}
        swish = {"activation": jax.nn.hard_swish, **shared}
        x = ConvNorm(16, 3, 2, name="stem", **swish)(image, train=train)
        features, stride = {"stride2": x}, 2
        expanded = iter(self.expanded)
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                width = next(expanded)
                block = InvertedResidual(
                    self.channels[i],
                    expanded=width,
                    window=self.windows[i],
                    stride=self.strides[i] if j == 0 else 1,
                    activation=jax.nn.hard_swish if self.swish[i] else nn.relu,
                    squeeze=divisible(width // 4) if self.gated[i] else None,
                    gate=nn.hard_sigmoid,
                    name=f"stage{i + 1}_block{j + 1}",
                    **shared,
                )
                if block.stride > 1 and self.expansions:
                    x, expansion = block.with_expansion(x, train=train)
                    features[f"stride{stride}_expanded"] = expansion
                else:
                    x = block(x, train=train)
                stride *= block.stride
                features[f"stride{stride}"] = x
        x = ConvNorm(6 * x.shape[-1], 1, name="last", **swish)(x, train=train)
        features[f"stride{stride}"] = x

        x = global_avg_pool(x)
        init = nn.initializers.normal(0.01)
        if self.hidden is not None:
            hidden = Dense(self.hidden, kernel_init=init, dtype=self.dtype, name="hidden_dense")
            x = jax.nn.hard_swish(hidden(x))
        features["pooled"] = x
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=init, dtype=jnp.float32, name="head")
        return head(x), features


_LARGE = {
    "stage_sizes": (1, 2, 3, 4, 2, 3),
    "channels": (16, 24, 40, 80, 112, 160),
    "windows": (3, 3, 5, 3, 3, 5),
    "strides": (1, 2, 2, 2, 1, 2),
    "gated": (False, False, True, False, True, True),
    "swish": (False, False, False, True, True, True),
    "expanded": (16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960),
    "hidden": 1280,
}
VARIANTS = {
    "mobilenet_v3_large": (MobileNetV3, _LARGE),
    "mobilenet_v3_large_reduced": (
        MobileNetV3,
        {
            **_LARGE,
            "channels": (16, 24, 40, 80, 112, 80),
            "expanded": (*_LARGE["expanded"][:-2], 480, 480),
            "hidden": 640,
        },
    ),
    "mobilenet_v3_small": (
        MobileNetV3,
        {
            "stage_sizes": (1, 2, 3, 2, 3),
            "channels": (16, 24, 40, 48, 96),
            "windows": (3, 3, 5, 5, 5),
            "strides": (2, 2, 2, 1, 2),
            "gated": (True, False, True, True, True),
            "swish": (False, False, True, True, True),
            "expanded": (16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576),
            "hidden": 1024,
        },
    ),
}
