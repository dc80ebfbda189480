"""Convolution of large and of tiny maps, faster on a CPU."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cvjax.ops.materialized import materialized
from cvjax.ops.plain_conv import Padding, edges, gradient_edges, hashable, plain_conv, window_counts

# From here on `x`, of 4 bytes an entry, and its gradient do not fit into a core's cache.
_LARGE = 1_500_000
# Of a single image, for its kernel's gradient.
_STRIPS = 4


def window_conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*window c k"],
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Float[Array, "b *out k"]:
    """`x` correlated with `kernel`; one entry per axis of space.

    Large maps: for the gradient of the kernel XLA on a CPU transposes `x`, images last, in a loop
    into which it draws the normalisation and the nonlinearity that `x` comes from. In ResNet-18 at
    32x32, batch 64, that took 320 ms of a step. Both operands are therefore in memory before it.

    Maps of fewer places than the window: XLA takes the map for the kernel and the kernel for the
    map, which spares products by the padding's zeros, and has no fast routine for the reversed
    window of that. 3x3 on [8, 2, 2, 512] took 104 ms, and takes 2 with the padding in memory; the
    gradient of a stride-2 convolution's input [8, 4, 4, 1024] took 1,740 ms of SENet-154's step.

    One image: XLA's gradient of the kernel multiplies by vectors of as many entries as there are
    images, so that a single one is slow. [1, 100, 100, 256] as four strips takes 75 ms and not 98.

    Others are XLA's, on accelerators all. Reverse mode of any order works; of a single image, large
    and tiny maps `jax.jvp` raises TypeError on a CPU.
    """
    geometry = tuple(stride), hashable(padding), tuple(dilation)
    if jax.default_backend() != "cpu":
        return plain_conv(x, kernel, *geometry)
    sizes, window = x.shape[1:-1], kernel.shape[:-2]
    windows = window_counts(sizes, window, *geometry)
    tiny = _are_tiny(sizes, window) or _are_tiny(windows, window)
    if x.size >= _LARGE or tiny or _is_cut(x, windows):
        return _on_cpu(x, kernel, geometry)
    return plain_conv(x, kernel, *geometry)


def _are_tiny(sizes: Sequence[int], window: Sequence[int]) -> bool:
    return math.prod(sizes) < math.prod(window)


def _is_cut(x: Array, windows: Sequence[int]) -> bool:
    """Whether the kernel's gradient is summed over strips: of two rows of windows at least."""
    return len(x) == 1 and windows[0] >= 2 * _STRIPS


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _on_cpu(x: Array, kernel: Array, geometry: tuple) -> Array:
    sizes, window = x.shape[1:-1], kernel.shape[:-2]
    if not _are_tiny(sizes, window):
        return plain_conv(x, kernel, *geometry)
    stride, _, dilation = geometry
    zeros = [(low, high, 0) for low, high in edges(sizes, window, *geometry)]
    return _of_padded(x, kernel, zeros, stride, dilation)


def _forward(x: Array, kernel: Array, geometry: tuple) -> tuple[Array, tuple[Array, Array]]:
    return _on_cpu(x, kernel, geometry), (x, kernel)


def _backward(geometry: tuple, residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    if x.size >= _LARGE:
        x, dy = materialized(x), materialized(dy)
    window, windows = kernel.shape[:-2], dy.shape[1:-1]
    if _is_cut(x, windows):
        dkernel = _sum_over_strips(x, kernel, geometry, dy)
    else:
        (dkernel,) = jax.vjp(lambda kernel: plain_conv(x, kernel, *geometry), kernel)[1](dy)
    if not _are_tiny(windows, window):
        return *jax.vjp(lambda x: plain_conv(x, kernel, *geometry), x)[1](dy), dkernel
    *_, dilation = geometry
    zeros = gradient_edges(x.shape[1:-1], window, *geometry, windows)
    # Reversing and transposing at once takes three times as long as one after the other.
    turned = materialized(jnp.flip(kernel, range(len(window)))).swapaxes(-2, -1)
    return _of_padded(dy, turned, zeros, (1,) * len(window), dilation), dkernel


_on_cpu.defvjp(_forward, _backward)


def _of_padded(
    x: Array,
    kernel: Array,
    zeros: Sequence[tuple[int, int, int]],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Array:
    """`x` with `zeros` (low, high, between) in memory, correlated with `kernel`."""
    padded = lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), *zeros, (0, 0, 0)])
    return plain_conv(materialized(padded), kernel, stride, "VALID", dilation)


def _sum_over_strips(x: Array, kernel: Array, geometry: tuple, dy: Array) -> Array:
    """The gradient of `kernel`, of an image cut into strips, which overlap by the window."""
    stride, _, dilation = geometry
    window = kernel.shape[:-2]
    rows = -(-dy.shape[1] // _STRIPS)  # of windows, the last strip's filled up with zeros
    seen = (rows - 1) * stride[0] + (window[0] - 1) * dilation[0] + 1
    step = rows * stride[0]
    (low, _), *across = edges(x.shape[1:-1], window, *geometry)
    high = (_STRIPS - 1) * step + seen - low - x.shape[1]  # below zero where no window reaches
    around = [(0, 0, 0), (low, high, 0), *((a, b, 0) for a, b in across), (0, 0, 0)]
    x = lax.pad(x, np.zeros((), x.dtype), around)
    x = jnp.concatenate([x[:, i * step : i * step + seen] for i in range(_STRIPS)])
    missing = [(0, 0, 0), (0, rows * _STRIPS - dy.shape[1], 0), *[(0, 0, 0)] * (dy.ndim - 2)]
    dy = lax.pad(dy, np.zeros((), dy.dtype), missing).reshape(_STRIPS, rows, *dy.shape[2:])
    x, dy = materialized(x), materialized(dy)
    pull = jax.vjp(lambda kernel: plain_conv(x, kernel, stride, "VALID", dilation), kernel)[1]
    return pull(dy)[0]
