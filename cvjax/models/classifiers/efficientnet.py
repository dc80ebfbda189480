"""EfficientNet (Tan & Le 2019, https://arxiv.org/abs/1905.11946, table 1, sizes by compound
scaling), EfficientNet v2 (Tan & Le 2021, https://arxiv.org/abs/2104.00298, table 4) and
EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

`efficientnet_*` agree with torchvision: b0 to b7 5,288,548 / 7,794,184 / 9,109,994 / 12,233,232 /
19,341,616 / 30,389,784 / 43,040,704 / 66,347,960 parameters, v2_s 21,458,488, v2_m 54,139,356,
v2_l 118,515,272. `tf_efficientnet_b0` and `efficientnet_lite0` to `lite4` (4,652,008 / 5,416,680 /
6,092,072 / 8,197,096 / 13,006,568) agree with the authors' TensorFlow weights.
"""

import math
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inverted_residual import InvertedResidual, divisible
from cvjax.ops.pool import global_avg_pool

_ACTIVATIONS = {"silu": nn.silu, "relu6": nn.relu6}


class EfficientNet(nn.Module):
    """3x3 stem, stages of inverted residuals, 1x1 convolution, average pooling, linear head.

    Stage i repeats `stage_sizes[i]` blocks of `channels[i]` and window `windows[i]`, the first of
    stride `strides[i]`, `expansions[i]` times as wide inside. `fused[i]`: its blocks use ordinary
    convolutions; `squeezed[i]`: they have a gate, a quarter of the block's input wide. `drop_path`
    rises from 0 at the first block. `padding`: None = symmetric as in torchvision, "SAME" = as in
    TensorFlow. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    channels: tuple[int, ...]
    windows: tuple[int, ...]
    strides: tuple[int, ...]
    expansions: tuple[int, ...]
    fused: tuple[bool, ...]
    squeezed: tuple[bool, ...]
    stem_width: int = 32
    last_width: int = 1280
    activation: Literal["silu", "relu6"] = "silu"
    padding: Literal["SAME"] | None = None
    dropout: float = 0.2
    drop_path: float = 0.2
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        activation = _ACTIVATIONS[self.activation]
        shared = {
            "activation": activation,
            "padding": self.padding,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "dtype": self.dtype,
        }
        x = ConvNorm(self.stem_width, 3, 2, name="stem", **shared)(image, train=train)
        features, stride = {"stride2": x}, 2
        total, done = sum(self.stage_sizes), 0
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                block = InvertedResidual(
                    self.channels[i],
                    expanded=self.expansions[i] * x.shape[-1],
                    window=self.windows[i],
                    stride=self.strides[i] if j == 0 else 1,
                    squeeze=max(1, x.shape[-1] // 4) if self.squeezed[i] else None,
                    squeeze_activation=activation,
                    fused=self.fused[i],
                    drop_rate=self.drop_path * done / total,
                    name=f"stage{i + 1}_block{j + 1}",
                    **shared,
                )
                x = block(x, train=train)
                done += 1
                stride *= block.stride
                features[f"stride{stride}"] = x
        x = ConvNorm(self.last_width, 1, name="last", **shared)(x, train=train)
        features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # Uniform in +-1 / sqrt(classes), as in the authors' and torchvision's code.
        # Differs from it: below 1,000 classes as for 1,000, or a new head of ten would be confident
        # and wrong (a first loss of 12 on trained features).
        share = self.num_classes / max(self.num_classes, 1000)
        init = nn.initializers.variance_scaling(share / 3, "fan_out", "uniform")
        head = Dense(self.num_classes, kernel_init=init, dtype=jnp.float32, name="head")
        return head(x), features


_B0 = {
    "stage_sizes": (1, 2, 2, 3, 3, 4, 1),
    "channels": (16, 24, 40, 80, 112, 192, 320),
    "windows": (3, 3, 5, 3, 5, 5, 3),
    "strides": (1, 2, 2, 2, 1, 2, 1),
    "expansions": (1, 6, 6, 6, 6, 6, 6),
    "fused": (False,) * 7,
    "squeezed": (True,) * 7,
}
# TensorFlow's, which PyTorch would call momentum 0.01.
_TENSORFLOW_NORM = {"epsilon": 1e-3, "momentum": 0.99}


def _scaled(width: float, depth: float, dropout: float, **fields: Any) -> dict[str, Any]:
    """B0 with `width` times the channels and `depth` times the blocks, rounded up."""
    return {
        **_B0,
        "stage_sizes": tuple(math.ceil(n * depth) for n in _B0["stage_sizes"]),
        "channels": tuple(divisible(c * width) for c in _B0["channels"]),
        "stem_width": divisible(32 * width),
        "last_width": 4 * divisible(320 * width),
        "dropout": dropout,
        **fields,
    }


def _lite(width: float, depth: float, dropout: float) -> dict[str, Any]:
    """Without gates and with ReLU6; stem, last convolution, and the first and last stage's depth
    are not scaled."""
    scaled = _scaled(width, depth, dropout)
    return scaled | {
        "stage_sizes": (1, *scaled["stage_sizes"][1:-1], 1),
        "squeezed": (False,) * 7,
        "stem_width": 32,
        "last_width": 1280,
        "activation": "relu6",
        "padding": "SAME",
        **_TENSORFLOW_NORM,
    }


def _v2(
    stage_sizes: tuple[int, ...],
    channels: tuple[int, ...],
    expansions: tuple[int, ...],
    strides: tuple[int, ...],
    **fields: Any,
) -> dict[str, Any]:
    stages = len(stage_sizes)
    return {
        "stage_sizes": stage_sizes,
        "channels": channels,
        "windows": (3,) * stages,
        "strides": strides,
        "expansions": expansions,
        "fused": tuple(i < 3 for i in range(stages)),
        "squeezed": tuple(i >= 3 for i in range(stages)),
        "epsilon": 1e-3,
        **fields,
    }


_LARGE = {"expansions": (1, 4, 4, 4, 6, 6, 6), "strides": (1, 2, 2, 2, 1, 2, 1)}
# (width, depth, dropout) of B0 to B7 and of Lite0 to Lite4.
_SCALES = (
    (1.0, 1.0, 0.2),
    (1.0, 1.1, 0.2),
    (1.1, 1.2, 0.3),
    (1.2, 1.4, 0.3),
    (1.4, 1.8, 0.4),
    (1.6, 2.2, 0.4),
    (1.8, 2.6, 0.5),
    (2.0, 3.1, 0.5),
)

VARIANTS = {
    f"efficientnet_b{i}": (
        EfficientNet,
        _scaled(*scale, **(_TENSORFLOW_NORM if i >= 5 else {})),
    )
    for i, scale in enumerate(_SCALES)
}
VARIANTS |= {
    "tf_efficientnet_b0": (EfficientNet, _scaled(*_SCALES[0], padding="SAME", **_TENSORFLOW_NORM))
}
VARIANTS |= {
    f"efficientnet_lite{i}": (EfficientNet, _lite(width, depth, min(dropout, 0.3)))
    for i, (width, depth, dropout) in enumerate(_SCALES[:5])
}
VARIANTS |= {
    "efficientnet_v2_s": (
        EfficientNet,
        _v2(
            (2, 4, 4, 6, 9, 15),
            (24, 48, 64, 128, 160, 256),
            (1, 4, 4, 4, 6, 6),
            (1, 2, 2, 2, 1, 2),
            stem_width=24,
            dropout=0.2,
        ),
    ),
    "efficientnet_v2_m": (
        EfficientNet,
        _v2(
            (3, 5, 5, 7, 14, 18, 5),
            (24, 48, 80, 160, 176, 304, 512),
            **_LARGE,
            stem_width=24,
            dropout=0.3,
        ),
    ),
    "efficientnet_v2_l": (
        EfficientNet,
        _v2(
            (4, 7, 7, 10, 19, 25, 7),
            (32, 64, 96, 192, 224, 384, 640),
            **_LARGE,
            stem_width=32,
            dropout=0.4,
        ),
    ),
}
