"""NASNet-A, whose two cells a search found on CIFAR-10 (Zoph et al. 2017,
https://arxiv.org/abs/1707.07012, fig. 4).

Parameters at 1000 classes: nasnetalarge (6 @ 4032) 88,753,150 as in timm, nasnetamobile (4 @ 1056)
5,289,978 as in Keras.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.drop_path import DropPath
from cvjax.nn.initializers import HE_FAN_OUT, LINEAR
from cvjax.nn.norm import BatchNorm
from cvjax.ops.pool import avg_pool, global_avg_pool, max_pool


class NASNet(nn.Module):
    """Stem, stages of normal cells with a reduction cell between, average pooling, linear head.

    Every cell reads the outputs of the two before it. Stage i repeats `stage_sizes[i]` cells of
    `width` * 2^i filters a branch. `skip_reduction`: the first cell behind a reduction reads what
    the reduction's second input was, instead of its first. `drop_path` is the share of branches
    that the last cell loses in training; it falls linearly towards the first. Any input size.

    Differs from the paper: the share of dropped branches does not grow with the step, and there is
    no auxiliary head.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    width: int
    stem_width: int
    skip_reduction: bool
    drop_path: float = 0.0
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        stem = {"strides": 2, "padding": 0, "name": "stem_conv"}
        x = _conv(self.stem_width, 3, self.dtype, **stem)(image)
        x = _norm(self.dtype, "stem_norm")(x, use_running_average=not train)
        features, stride = {"stride2": x}, 2
        total, done = sum(self.stage_sizes), 0

        def cell(name: str, x: Array, previous: Array | None, channels: int, **kind: bool) -> Array:
            rate = self.drop_path * (done + 1) / total if total else 0.0
            cell = Cell(channels, drop_rate=min(rate, self.drop_path), name=name, dtype=self.dtype,
                        **kind)  # fmt: skip
            return cell(x, previous, train=train)

        # The outputs so far; a cell reads the last two.
        first = cell("stem_cell1", x, None, self.width // 4, reduce=True)
        second = cell("stem_cell2", first, x, self.width // 2, reduce=True, shrink=True)
        features["stride4"], features["stride8"] = first, second
        outputs, stride = [first, second], 8
        for i, cells in enumerate(self.stage_sizes):
            width = self.width * 2**i
            previous = outputs[-2]
            if i > 0:
                name = f"stage{i + 1}_reduction"
                outputs.append(cell(name, outputs[-1], outputs[-2], width, reduce=True))
                stride *= 2
                if not self.skip_reduction:
                    previous = outputs[-2]
            for j in range(cells):
                name = f"stage{i + 1}_cell{j + 1}"
                outputs.append(cell(name, outputs[-1], previous, width, shrink=j == 0))
                previous = outputs[-2]
                done += 1
            features[f"stride{stride}"] = outputs[-1]
        features[f"stride{stride}"] = x = nn.relu(outputs[-1])

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class Cell(nn.Module):
    """Five sums of two branches each, from `x` and the `previous` cell's output (fig. 4).

    `reduce`: the reduction cell, which halves the map; else the normal cell. `shrink`: `previous`
    is twice as large as `x`. Without a `previous`, `x` itself is read in its place.
    """

    channels: int
    reduce: bool = False
    shrink: bool = False
    drop_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        previous: Float[Array, "b h0 w0 c0"] | None,
        *,
        train: bool,
    ) -> Float[Array, "b h2 w2 d"]:
        made = {"dtype": self.dtype}
        current = Squeeze(self.channels, name="current", **made)(x, train=train)
        if previous is None:
            previous = x
        elif self.shrink:
            previous = Shrink(self.channels, name="previous", **made)(previous, train=train)
        else:
            previous = Squeeze(self.channels, name="previous", **made)(previous, train=train)
        drop = DropPath(self.drop_rate, name="drop_path")
        stride = 2 if self.reduce else 1

        def separable(name: str, window: int, x: Array, stride: int = stride) -> Array:
            branch = SeparableTwice(self.channels, window, stride, name=name, **made)
            return drop(branch(x, train=train), train=train)

        def mean(x: Array, stride: int = stride) -> Array:
            if stride == 1:
                pooled = avg_pool(x, window=3, stride=1, padding=1, count_include_pad=False)
            else:  # the zeros around the map count, as in timm
                pooled = avg_pool(_pad_same(x, 0), window=3, stride=2)
            return drop(pooled, train=train)

        def largest(x: Array) -> Array:
            return drop(max_pool(_pad_same(x, -np.inf), window=3, stride=2), train=train)

        if self.reduce:
            sum1 = separable("sum1_left", 5, current) + separable("sum1_right", 7, previous)
            sum2 = largest(current) + separable("sum2_right", 7, previous)
            sum3 = mean(current) + separable("sum3_right", 5, previous)
            sum4 = mean(sum1, stride=1) + sum2
            sum5 = separable("sum5_left", 3, sum1, stride=1) + largest(current)
            return jnp.concatenate([sum2, sum3, sum4, sum5], axis=-1)
        sum1 = separable("sum1_left", 5, current) + separable("sum1_right", 3, previous)
        sum2 = separable("sum2_left", 5, previous) + separable("sum2_right", 3, previous)
        sum3 = mean(current) + previous
        sum4 = mean(previous) + mean(previous)
        sum5 = separable("sum5_left", 3, current) + current
        return jnp.concatenate([previous, sum1, sum2, sum3, sum4, sum5], axis=-1)


class Squeeze(nn.Module):
    """ReLU, 1x1 convolution, BN: any number of channels to the cell's."""

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w d"]:
        x = _conv(self.channels, 1, self.dtype, name="conv")(nn.relu(x))
        return _norm(self.dtype, "norm")(x, use_running_average=not train)


class Shrink(nn.Module):
    """The same at half the size: even pixels make half of the channels, odd ones the others."""

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        x = nn.relu(x)
        odd = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
        even = _conv(self.channels // 2, 1, self.dtype, name="even")(x[:, ::2, ::2])
        odd = _conv(self.channels // 2, 1, self.dtype, name="odd")(odd[:, ::2, ::2])
        x = jnp.concatenate([even, odd], axis=-1)
        return _norm(self.dtype, "norm")(x, use_running_average=not train)


class SeparableTwice(nn.Module):
    """ReLU, separable convolution and BN, twice; the first carries the stride (appendix A.4)."""

    channels: int
    window: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        for i, stride in ((1, self.stride), (2, 1)):
            width = x.shape[-1]
            around = {"strides": stride, "padding": "SAME", "feature_group_count": width}
            x = _conv(width, self.window, self.dtype, name=f"depthwise{i}", **around)(nn.relu(x))
            x = _conv(self.channels, 1, self.dtype, name=f"pointwise{i}")(x)
            x = _norm(self.dtype, f"norm{i}")(x, use_running_average=not train)
        return x


def _conv(channels: int, window: int, dtype: Any, **fields: Any) -> Conv:
    return Conv(
        channels, (window, window), use_bias=False, kernel_init=HE_FAN_OUT, dtype=dtype, **fields
    )


def _norm(dtype: Any, name: str) -> BatchNorm:
    return BatchNorm(epsilon=1e-3, dtype=dtype, name=name)


def _pad_same(x: Array, value: float) -> Array:
    """`x` with what TensorFlow's "SAME" adds for a 3x3 window of stride 2."""
    pads = lax.padtype_to_pads(x.shape[1:3], (3, 3), (2, 2), "SAME")
    return lax.pad(
        x, np.array(value, x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    )


VARIANTS = {
    "nasnetalarge": (
        NASNet,
        {
            "stage_sizes": (6, 6, 6),
            "width": 168,
            "stem_width": 96,
            "skip_reduction": True,
            "drop_path": 0.3,
        },
    ),
    "nasnetamobile": (
        NASNet,
        {"stage_sizes": (4, 4, 4), "width": 44, "stem_width": 32, "skip_reduction": False},
    ),
}
