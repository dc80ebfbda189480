"""Densely connected networks (Huang et al. 2016, https://arxiv.org/abs/1608.06993).

ImageNet: densenet121/169/201 (table 1), 7,978,856 / 14,149,480 / 20,013,928 parameters at 1000
classes, as in torchvision. CIFAR (section 4.2, table 2), named by layers and growth rate:
densenet_40_12 and, with bottlenecks and compression, densenet_bc_100_12 / 250_24 / 190_40;
1.0 / 0.8 / 15.3 / 25.6 million.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.nn.norm import BatchNorm
from cvjax.nn.remat import apply_block
from cvjax.ops.pool import avg_pool, global_avg_pool, max_pool

HE_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between, BN, ReLU, global average pooling, head.

    Every layer reads all maps of its block so far and adds `growth` channels; a transition
    keeps the share `compression` of the channels and halves the map.
    `stage_sizes`: layers of each block. `width`: channels of the stem. `stem`: "imagenet" = 7x7
    stride 2, BN, ReLU, 3x3 max-pool stride 2; "cifar" = 3x3 stride 1 alone. `bottleneck`: a 1x1
    convolution to 4 `growth` channels in front of every 3x3. `dropout`: behind every convolution
    but the stem's (section 4.2: 0.2 where images are not augmented). `remat`: recompute the
    layers in the backward pass instead of keeping what they normalise, which takes memory that
    grows with the square of the depth. Any input size of at least 29x29 (ImageNet), 4x4 (CIFAR).
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    growth: int = 32
    width: int = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"
    bottleneck: bool = True
    compression: float = 0.5
    dropout: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        stride = 1
        if self.stem == "imagenet":
            x = _conv(self.width, 7, stride=2, dtype=self.dtype, name="stem_conv")(image)
            x = _norm_relu(x, train=train, dtype=self.dtype, name="stem_norm")
            features["stride2"] = x
            x = max_pool(x, window=3, stride=2, padding=1)
            stride = 4
        else:
            x = _conv(self.width, 3, dtype=self.dtype, name="stem_conv")(image)

        for i, layers in enumerate(self.stage_sizes, start=1):
            for j in range(1, layers + 1):
                layer = DenseLayer(
                    growth=self.growth,
                    bottleneck=self.bottleneck,
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"stage{i}_layer{j}",
                )
                new = apply_block(layer, x, train=train, remat=self.remat)
                x = jnp.concatenate([x, new], axis=-1)
            features[f"stride{stride}"] = x
            if i < len(self.stage_sizes):
                x = Transition(
                    channels=int(x.shape[-1] * self.compression),
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"transition{i}",
                )(x, train=train)
                stride *= 2

        x = _norm_relu(x, train=train, dtype=self.dtype, name="final_norm")
        features[f"stride{stride}"] = x
        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class DenseLayer(nn.Module):
    """The `growth` channels that a layer adds: BN - ReLU - conv 3x3, with a bottleneck or not."""

    growth: int
    bottleneck: bool
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w g"]:
        if self.bottleneck:
            x = _norm_relu(x, train=train, dtype=self.dtype, name="norm1")
            x = _conv(4 * self.growth, 1, dtype=self.dtype, name="conv1")(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        last = 2 if self.bottleneck else 1
        x = _norm_relu(x, train=train, dtype=self.dtype, name=f"norm{last}")
        x = _conv(self.growth, 3, dtype=self.dtype, name=f"conv{last}")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Transition(nn.Module):
    """BN - ReLU - conv 1x1 - 2x2 average pool."""

    channels: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        x = _norm_relu(x, train=train, dtype=self.dtype, name="norm")
        x = _conv(self.channels, 1, dtype=self.dtype, name="conv")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return avg_pool(x, window=2)


def _norm_relu(x: Array, *, train: bool, dtype: Any, name: str) -> Array:
    return nn.relu(BatchNorm(dtype=dtype, name=name)(x, use_running_average=not train))


def _conv(channels: int, window: int, *, stride: int = 1, dtype: Any, name: str) -> nn.Conv:
    return Conv(
        channels,
        (window, window),
        strides=stride,
        padding=window // 2,
        use_bias=False,
        kernel_init=HE_FAN_IN,
        dtype=dtype,
        name=name,
    )


VARIANTS = {
    "densenet121": (DenseNet, {"stage_sizes": (6, 12, 24, 16)}),
    "densenet169": (DenseNet, {"stage_sizes": (6, 12, 32, 32)}),
    "densenet201": (DenseNet, {"stage_sizes": (6, 12, 48, 32)}),
    "densenet_40_12": (
        DenseNet,
        {
            "stage_sizes": ((40 - 4) // 3,) * 3,
            "growth": 12,
            "width": 16,
            "stem": "cifar",
            "bottleneck": False,
            "compression": 1.0,
        },
    ),
}
VARIANTS |= {
    f"densenet_bc_{depth}_{growth}": (
        DenseNet,
        {
            "stage_sizes": ((depth - 4) // 6,) * 3,
            "growth": growth,
            "width": 2 * growth,
            "stem": "cifar",
        },
    )
    for depth, growth in ((100, 12), (250, 24), (190, 40))
}
