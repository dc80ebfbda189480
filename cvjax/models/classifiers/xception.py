"""Xception (Chollet 2016, https://arxiv.org/abs/1610.02357, fig. 5).

Parameters at 1000 classes: 22,855,952, as in timm's legacy_xception and in Keras.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import HE_FAN_OUT, LINEAR
from cvjax.nn.norm import BatchNorm
from cvjax.nn.separable_conv import SeparableConv
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import global_avg_pool, max_pool

WIDTHS = (128, 256, 728, 1024)


class Xception(nn.Module):
    """Two convolutions, residual blocks of separable ones, two more separable ones, linear head.

    The first block of every stage halves the map and widens it to `WIDTHS` (entry flow, and the
    exit flow's last block); the others keep their shape (the middle flow's eight are stage 3's
    blocks 2 to 9). `width`: channels of the first convolution; the others grow in proportion.
    Any input of 7 pixels or more.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (1, 1, 9, 1)
    width: int = 32
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        dtype = self.dtype
        stem = {"window": 3, "padding": 0, "dtype": dtype}
        x = ConvNorm(self.width, stride=2, name="stem_conv1", **stem)(image, train=train)
        x = ConvNorm(2 * self.width, name="stem_conv2", **stem)(x, train=train)
        features["stride2"] = x

        for i, blocks in enumerate(self.stage_sizes):
            channels = WIDTHS[i] * self.width // 32
            for j in range(blocks):
                name = f"stage{i + 1}_block{j + 1}"
                if j > 0:
                    block = Block((channels,) * 3, dtype=dtype, name=name)
                else:
                    # The exit flow widens with its second convolution, not with its first.
                    first = x.shape[-1] if i == len(WIDTHS) - 1 else channels
                    block = Block(
                        (first, channels), stride=2, relu_first=i > 0, dtype=dtype, name=name
                    )
                x = block(x, train=train)
            features[f"stride{4 * 2**i}"] = x

        for i, multiple in enumerate((48, 64)):
            conv = SeparableConv(multiple * self.width, dtype=dtype, name=f"final_conv{i + 1}")
            norm = BatchNorm(dtype=dtype, name=f"final_norm{i + 1}")
            x = nn.relu(norm(conv(x), use_running_average=not train))
        features[f"stride{2 * 2 ** len(self.stage_sizes)}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class Block(nn.Module):
    """`x` plus ReLU, separable convolution and BN, once for each of `channels`.

    `stride=2`: a max-pool at the end, and a strided 1x1 convolution with BN on the shortcut.
    """

    channels: tuple[int, ...]
    stride: int = 1
    relu_first: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        frozen = {"use_running_average": not train}
        y = x
        for i, channels in enumerate(self.channels):
            if i > 0 or self.relu_first:
                y = nn.relu(y)
            y = SeparableConv(channels, dtype=self.dtype, name=f"conv{i + 1}")(y)
            y = BatchNorm(dtype=self.dtype, name=f"norm{i + 1}")(y, **frozen)
        if self.stride == 1:
            return materialized(x + y)
        shortcut = Conv(
            self.channels[-1],
            (1, 1),
            strides=self.stride,
            padding=0,
            use_bias=False,
            kernel_init=HE_FAN_OUT,
            dtype=self.dtype,
            name="shortcut_conv",
        )
        x = BatchNorm(dtype=self.dtype, name="shortcut_norm")(shortcut(x), **frozen)
        return materialized(x + max_pool(y, window=3, stride=self.stride, padding=1))


VARIANTS = {"xception": (Xception, {})}
