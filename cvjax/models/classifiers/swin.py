"""Swin transformers (Liu et al. 2021, https://arxiv.org/abs/2103.14030).

Parameters at 1000 classes, as in torchvision: swin_t 28,288,354, swin_s 49,606,258,
swin_b 87,768,224.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn import norm
from cvjax.nn.attention import SelfAttention
from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.drop_path import DropPath, linear_rates
from cvjax.nn.initializers import SMALL_NORMAL
from cvjax.nn.mlp import Mlp
from cvjax.nn.remat import apply_block
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import global_avg_pool

LayerNorm = functools.partial(norm.LayerNorm, epsilon=1e-5)
_HIDDEN = -100.0  # added to the scores of tokens that do not see each other, as the reference does


class Swin(nn.Module):
    """Patches of 4 pixels, stages of blocks with attention in windows, a norm, a linear head.

    Every stage but the first begins by merging 2x2 tokens into one of twice the width. Windows are
    `window` x `window` tokens; those of every second block are shifted by half. A stage of width d
    has d / head_width heads. The features are the stages' maps, "stride32" after the last norm.

    `dropout` follows every dense layer of a block but qkv; `attention_dropout` drops attention
    weights; `drop_path` is stochastic depth's rate in the last block, rising linearly from 0. All
    three take the stream "dropout". `remat`: recompute a block in the backward pass instead of
    keeping its inner values. Any image size from 4 pixels: maps that windows do not tile are
    padded with zeros for the attention, odd ones by a row or column for the merging.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (2, 2, 6, 2)
    width: int = 96
    head_width: int = 32
    window: int = 7
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        stem = Conv(self.width, (4, 4), strides=4, padding=0, dtype=self.dtype, name="stem_conv")
        x = LayerNorm(dtype=self.dtype, name="stem_norm")(stem(image))
        rates = iter(linear_rates(self.drop_path, sum(self.stage_sizes)))
        for i, blocks in enumerate(self.stage_sizes):
            if i > 0:
                features[f"stride{2 * 2**i}"] = x
                x = PatchMerging(dtype=self.dtype, name=f"stage{i + 1}_merging")(x)
            for j in range(blocks):
                block = Block(
                    heads=max(x.shape[-1] // self.head_width, 1),
                    window=self.window,
                    shift=self.window // 2 if j % 2 else 0,
                    dropout=self.dropout,
                    attention_dropout=self.attention_dropout,
                    drop_path=next(rates),
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = apply_block(block, x, train=train, remat=self.remat)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        features[f"stride{2 * 2 ** len(self.stage_sizes)}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=SMALL_NORMAL, dtype=jnp.float32, name="head")
        return head(x), features


class Block(nn.Module):
    """x + attention in windows (norm(x)), then x + mlp(norm(x)) (fig. 3b)."""

    heads: int
    window: int
    shift: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], *, train: bool) -> Float[Array, "b h w d"]:
        drop_path = DropPath(self.drop_path)
        y = self._attention(LayerNorm(dtype=self.dtype, name="norm1")(x), train=train)
        x = materialized(x + drop_path(y, train=train))
        mlp = Mlp(4 * x.shape[-1], dropout=self.dropout, dtype=self.dtype, name="mlp")
        y = mlp(LayerNorm(dtype=self.dtype, name="norm2")(x), train=train)
        return materialized(x + drop_path(y, train=train))

    def _attention(self, x: Array, *, train: bool) -> Array:
        batch, height, width, channels = x.shape
        window = self.window
        rows, columns = -(-height // window), -(-width // window)
        x = jnp.pad(x, ((0, 0), (0, rows * window - height), (0, columns * window - width), (0, 0)))
        # A single window has nothing to shift against.
        shift = tuple(self.shift if count > 1 else 0 for count in (rows, columns))
        x = jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2))
        x = x.reshape(batch, rows, window, columns, window, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch * rows * columns, window * window, channels)  # [B * N, T, D]

        table = self.param(
            "relative_position_bias", SMALL_NORMAL, ((2 * window - 1) ** 2, self.heads), jnp.float32
        )
        bias = jnp.asarray(table)[relative_positions(window)]  # [T, T, H]
        bias = bias.transpose(2, 0, 1)[None]  # [1, H, T, T]
        if any(shift):
            hidden = _HIDDEN * ~same_region((rows, columns), window, shift)  # [N, T, T]
            bias = bias + hidden.astype(np.float32)[:, None]
            bias = jnp.tile(bias, (batch, 1, 1, 1))  # [B * N, H, T, T]
        attention = SelfAttention(
            self.heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            dtype=self.dtype,
            name="attention",
        )
        x = attention(x, train=train, bias=bias)

        x = x.reshape(batch, rows, columns, window, window, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, rows * window, columns * window, channels)
        return jnp.roll(x, shift, axis=(1, 2))[:, :height, :width]


class PatchMerging(nn.Module):
    """Four neighbours side by side, a norm, a dense layer to twice the width (section 3.1)."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 2*d"]:
        batch, height, width, channels = x.shape
        x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        x = x.reshape(batch, -(-height // 2), 2, -(-width // 2), 2, channels)
        # Down before across: the order that the reference weights expect.
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(*x.shape[:2], x.shape[3], 4 * channels)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        return Dense(
            2 * channels,
            use_bias=False,
            kernel_init=SMALL_NORMAL,
            dtype=self.dtype,
            name="reduction",
        )(x)


def relative_positions(window: int) -> np.ndarray:
    """[T, T]: the row of the bias table for a query (first) and a key, T = window ** 2 tokens.

    A table's row stands for (down, across) in row order, each from 1 - window to window - 1: the
    query's place minus the key's.
    """
    y, x = (axis.reshape(-1) for axis in np.indices((window, window)))
    down = y[:, None] - y[None, :] + window - 1
    across = x[:, None] - x[None, :] + window - 1
    return down * (2 * window - 1) + across


def same_region(grid: tuple[int, int], window: int, shift: tuple[int, int]) -> np.ndarray:
    """[N, T, T]: which tokens of each of N windows were neighbours before the map was rolled."""
    labels = []
    for count, offset in zip(grid, shift):
        before = (np.arange(count * window) + offset) % (count * window)
        # Rolled from the far border, hence in a window with what it was never near.
        labels.append(np.where(before < offset, 1, 0).reshape(count, window))
    down, across = labels
    regions = 2 * down[:, None, :, None] + across[None, :, None, :]
    regions = regions.reshape(grid[0] * grid[1], window * window)
    return regions[:, :, None] == regions[:, None, :]


# Rates of stochastic depth from the paper's appendix A2.1 (ImageNet-1K).
VARIANTS = {
    "swin_t": (Swin, {"drop_path": 0.2}),
    "swin_s": (Swin, {"stage_sizes": (2, 2, 18, 2), "drop_path": 0.3}),
    "swin_b": (Swin, {"stage_sizes": (2, 2, 18, 2), "width": 128, "drop_path": 0.5}),
}
