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

    Others are XLA's, on accelerators all. Reverse mode of any order works; of large and tiny maps
    `jax.jvp` raises TypeError on a CPU.
    """
    geometry = tuple(stride), hashable(padding), tuple(dilation)
    if jax.default_backend() != "cpu":
        return plain_conv(x, kernel, *geometry)
    sizes, window = x.shape[1:-1], kernel.shape[:-2]
    windows = window_counts(sizes, window, *geometry)
    if x.size >= _LARGE or _are_tiny(sizes, window) or _are_tiny(windows, window):
        return _on_cpu(x, kernel, geometry)
    return plain_conv(x, kernel, *geometry)


def _are_tiny(sizes: Sequence[int], window: Sequence[int]) -> bool:
    return math.prod(sizes) < math.prod(window)


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
    if not _are_tiny(windows, window):
        return jax.vjp(lambda x, kernel: plain_conv(x, kernel, *geometry), x, kernel)[1](dy)
    (dkernel,) = jax.vjp(lambda kernel: plain_conv(x, kernel, *geometry), kernel)[1](dy)
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
