"""Pooling over the two spatial axes of [B, H, W, C] maps, with PyTorch's rules of padding.

`window`, `stride`, `padding` and `dilation` are one integer or a pair (height, width); `stride`
defaults to `window`. Output size: floor((size + 2 padding - reach) / stride) + 1, where a window
reaches over dilation (window - 1) + 1 pixels. With `ceil_mode` it is rounded up, but a last window
that would start in the trailing padding or beyond is left out.

On a CPU the windows are gathered as shifted slices: the gradient of XLA's own `reduce_window` is
10 times slower there (3x3 stride 2 on [16, 56, 56, 64]: 64 against 6 ms on 2 cores). Accelerators
keep `reduce_window`. Both send the gradient of a maximum to the first of equal values in row order.
Windows of up to nine places and windows that tile the map have a gradient of their own on a CPU
(`_shared_out`): reverse mode of any order works there, `jax.jvp` raises TypeError.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cvjax.ops.materialized import materialized
from cvjax.ops.tap_sums import TAPS_IN_ONE_LOOP, sum_over_taps

Pair = int | tuple[int, int]
Pads = tuple[tuple[int, int], tuple[int, int]]
Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], Pads]


def max_pool(
    x: Float[Array, "b h w c"],
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Float[Array, "b h2 w2 c"]:
    """The largest value of every window; padding never wins, NaN always does.

    Raises:
        ValueError: if `padding` is more than half a window, or no window fits.
    """
    geometry = _geometry(x, window, stride, padding, dilation, ceil_mode)
    window, stride, dilation, pads = geometry
    lowest = np.array(-np.inf, x.dtype)

    def sliced(x: Array) -> Array:
        if _have_own_gradient(geometry):
            return _max_of_slices(x, geometry)
        return _pool_slices(x, lowest, geometry, _first_max)

    def windowed(x: Array) -> Array:
        return lax.reduce_window(
            x,
            lowest,
            lax.max,
            window_dimensions=(1, *window, 1),
            window_strides=(1, *stride, 1),
            padding=((0, 0), *pads, (0, 0)),
            window_dilation=(1, *dilation, 1),
        )

    return lax.platform_dependent(x, cpu=sliced, default=windowed)


def avg_pool(
    x: Float[Array, "b h w c"],
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "b h2 w2 c"]:
    """The mean of every window.

    `count_include_pad`: zeros of `padding` count as values (what `ceil_mode` adds never does).

    Raises:
        ValueError: if `padding` is more than half a window, or no window fits.
    """
    geometry = _geometry(x, window, stride, padding, 1, ceil_mode)
    window, stride, _, pads = geometry
    zero = np.array(0, x.dtype)

    def sliced(x: Array) -> Array:
        if _have_own_gradient(geometry):
            return _sum_of_slices(x, geometry)
        return _pool_slices(x, zero, geometry, _sum)

    def windowed(x: Array) -> Array:
        return lax.reduce_window(
            x,
            zero,
            lax.add,
            window_dimensions=(1, *window, 1),
            window_strides=(1, *stride, 1),
            padding=((0, 0), *pads, (0, 0)),
        )

    total = lax.platform_dependent(x, cpu=sliced, default=windowed)
    border = _pair(padding) if count_include_pad else (0, 0)
    rows, columns = (
        _places(n, size, w, s, p, b)
        for n, size, w, s, p, b in zip(
            total.shape[1:3], x.shape[1:3], window, stride, _pair(padding), border
        )
    )
    count = rows[:, None, None] * columns[None, :, None]  # [H2, W2, 1]
    return total / jnp.asarray(count[None], x.dtype)


def global_avg_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The mean of every channel over the whole map, summed in float32."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(x.dtype)


def adaptive_avg_pool(x: Float[Array, "b h w c"], output_size: Pair) -> Float[Array, "b h2 w2 c"]:
    """The means of `output_size` bins that cover the map, as in PyTorch.

    Bin i of n over a side of s pixels is [floor(i s / n), ceil((i + 1) s / n)): bins overlap where
    n does not divide s, and repeat pixels where n is greater. Summed in float32.
    """
    height, width = _pair(output_size)
    if x.shape[1:3] == (height, width):
        return x
    # All columns of a bin have as many rows: its mean is the mean of means.
    rows = [x[:, low:high].mean(1, dtype=jnp.float32) for low, high in _bins(x.shape[1], height)]
    y = jnp.stack(rows, axis=1)  # [B, H2, W, C]
    columns = [y[:, :, low:high].mean(2) for low, high in _bins(x.shape[2], width)]
    return jnp.stack(columns, axis=2).astype(x.dtype)


def _bins(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _pool_slices(
    x: Array,
    fill: np.ndarray,
    geometry: Geometry,
    reduce: Callable[[Sequence[Array]], Array],
) -> Array:
    window, stride, dilation, pads = geometry
    x = lax.pad(x, fill, [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])
    if _are_tiles(geometry):
        return reduce(_tiles(x, window))
    if math.prod(window) <= TAPS_IN_ONE_LOOP:
        return reduce(
            [
                row
                for rows in _shifted(x, 1, window, stride, dilation)
                for row in _shifted(rows, 2, window, stride, dilation)
            ]
        )
    # Columns first: then the first of equal values is the first in row order here as well.
    x = reduce(_shifted(x, 2, window, stride, dilation))
    return reduce(_shifted(x, 1, window, stride, dilation))


def _first_max(values: Sequence[Array]) -> Array:
    """Elementwise maximum whose gradient goes to the first of equal values."""
    winner = _winner([lax.stop_gradient(value) for value in values])
    result = values[0]
    for i, value in enumerate(values[1:], start=1):
        result = jnp.where(winner == i, value, result)
    return result


def _winner(values: Sequence[Array]) -> Array:
    """Elementwise, which of the values is the first of the largest."""
    best, winner = values[0], jnp.zeros(values[0].shape, jnp.int32)
    for i, value in enumerate(values[1:], start=1):
        winner = jnp.where((value > best) | jnp.isnan(value), i, winner)
        best = jnp.maximum(value, best)
    return winner


_sum = functools.partial(functools.reduce, jnp.add)
_max = functools.partial(functools.reduce, jnp.maximum)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_of_slices(x: Array, geometry: Geometry) -> Array:
    return _pool_slices(x, np.array(-np.inf, x.dtype), geometry, _max)


def _max_of_slices_forward(x: Array, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    winner = _pool_slices(x, np.array(-np.inf, x.dtype), geometry, _winner)
    return _max_of_slices(x, geometry), (winner, x[:0])


def _max_of_slices_backward(
    geometry: Geometry, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array]:
    winner, x = residuals
    return (_shared_out(dy, winner, x.shape[1:3], geometry),)


_max_of_slices.defvjp(_max_of_slices_forward, _max_of_slices_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _sum_of_slices(x: Array, geometry: Geometry) -> Array:
    return _pool_slices(x, np.array(0, x.dtype), geometry, _sum)


def _sum_of_slices_forward(x: Array, geometry: Geometry) -> tuple[Array, Array]:
    return _sum_of_slices(x, geometry), x[:0]


def _sum_of_slices_backward(geometry: Geometry, x: Array, dy: Array) -> tuple[Array]:
    return (_shared_out(dy, None, x.shape[1:3], geometry),)


_sum_of_slices.defvjp(_sum_of_slices_forward, _sum_of_slices_backward)


def _shared_out(
    dy: Array, winner: Array | None, size: tuple[int, int], geometry: Geometry
) -> Array:
    """`dy` of every window at its winner's place, or at all of its places; [B, *size, C]."""
    window, stride, dilation, pads = geometry
    # Every place of a window would compute it anew: in DenseNet-121 a sum of 24 layers' maps.
    dy = materialized(dy)
    if _are_tiles(geometry):
        return _tiled_out(dy, winner, size, geometry)

    def share(tap: tuple[int, ...], maps: Sequence[Array]) -> Array:
        if winner is None:
            return maps[0]
        return jnp.where(maps[1] == tap[0] * window[1] + tap[1], maps[0], 0)

    return sum_over_taps(
        [dy] if winner is None else [dy, winner],
        share,
        size=size,
        window=window,
        stride=stride,
        dilation=dilation,
        pads=pads,
    )


def _tiled_out(dy: Array, winner: Array | None, size: tuple[int, int], geometry: Geometry) -> Array:
    """`_shared_out` of windows that tile the map: one loop, in which no two of them meet."""
    (high, wide), _, _, pads = geometry

    def spread(values: Array) -> Array:
        return values[:, :, None, :, None]

    full = jnp.broadcast_to(
        spread(dy), (len(dy), dy.shape[1], high, dy.shape[2], wide, dy.shape[3])
    )
    if winner is not None:
        place = np.arange(high)[:, None, None, None] * wide + np.arange(wide)[:, None]
        full = jnp.where(spread(winner) == place[None, None], full, 0)
    full = full.reshape(len(dy), dy.shape[1] * high, dy.shape[2] * wide, -1)
    crop = [(-low, n + low - have, 0) for n, (low, _), have in zip(size, pads, full.shape[1:3])]
    return lax.pad(full, np.zeros((), full.dtype), [(0, 0, 0), *crop, (0, 0, 0)])


def _have_own_gradient(geometry: Geometry) -> bool:
    """Whether the windows have the gradient of `_shared_out`."""
    return math.prod(geometry[0]) <= TAPS_IN_ONE_LOOP or _are_tiles(geometry)


def _are_tiles(geometry: Geometry) -> bool:
    window, stride, dilation, _ = geometry
    return window == stride and dilation == (1, 1)


def _tiles(x: Array, window: tuple[int, int]) -> list[Array]:
    """The values at each place of the windows that tile `x`: a reshape, so its gradient is one."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window[0], window[0], width // window[1], window[1], channels)
    return [x[:, :, i, :, j] for i in range(window[0]) for j in range(window[1])]


def _shifted(
    x: Array, axis: int, window: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> list[Array]:
    """The values at each place of the windows along one axis."""
    w, s, d = window[axis - 1], stride[axis - 1], dilation[axis - 1]
    last = (x.shape[axis] - d * (w - 1) - 1) // s * s
    return [lax.slice_in_dim(x, i * d, i * d + last + 1, s, axis) for i in range(w)]


def _geometry(
    x: Array, window: Pair, stride: Pair | None, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Geometry:
    window, padding, dilation = _pair(window), _pair(padding), _pair(dilation)
    stride = window if stride is None else _pair(stride)
    pads = []
    for size, w, s, p, d in zip(x.shape[1:3], window, stride, padding, dilation):
        if 2 * p > w:
            raise ValueError(f"padding {p} is more than half of the pooling window {w}")
        room = size + 2 * p - d * (w - 1) - 1
        if room < 0:
            raise ValueError(f"a pooling window of {d * (w - 1) + 1} does not fit {x.shape}")
        steps = -(-room // s) if ceil_mode else room // s
        if steps * s >= size + p:
            steps -= 1
        # The last window's end decides; what lies behind it is cropped (negative padding).
        pads.append((p, steps * s + d * (w - 1) + 1 - size - p))
    return window, stride, dilation, tuple(pads)


def _places(n: int, size: int, window: int, stride: int, padding: int, border: int) -> np.ndarray:
    """How many places of each of `n` windows lie in the image or within `border` of it."""
    start = np.arange(n) * stride - padding
    return np.minimum(start + window, size + border) - np.maximum(start, -border)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
