"""Depthwise convolution: every channel is filtered by a window of its own.

On a CPU XLA runs it through a generic loop. The sum below of shifted slices, one a tap of the
window, compiles to one fused loop. Milliseconds on 2 cores, [16, 56, 56, 144], 3x3, stride 1 and 2:

    gradient of     XLA's convolution   sum of slices
    none (forward)      356    70         5.7   3.9
    the input           316   324         2.5   1.8
    the kernel           91    36          81    12

The gradient of the kernel is therefore summed in another way, which takes a third of that time, and
that of the input of windows above 3x3 as another correlation (docs/performance.md). Both rules are
custom_vjp's: reverse mode of any order works on a CPU, `jax.jvp` raises TypeError there.
Accelerators keep XLA's convolution.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cvjax.ops.materialized import materialized
from cvjax.ops.plain_conv import Padding, edges, gradient_edges, hashable, plain_conv, window_counts
from cvjax.ops.tap_sums import TAPS_IN_ONE_LOOP, sum_over_taps


def depthwise_conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*window 1 c"],
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Float[Array, "b *out c"]:
    """`x` with channel i correlated with `kernel[..., 0, i]`; one entry per spatial axis.

    `padding`: "SAME", "VALID" (as TensorFlow's) or (low, high) of zeros per axis. Sums are float32
    where `x` is narrower; the result has the type of `x`.
    """

    stride, dilation, padding = tuple(stride), tuple(dilation), hashable(padding)

    def taps(x: Array, kernel: Array) -> Array:
        return _on_cpu(x, kernel, stride, padding, dilation)

    def convolution(x: Array, kernel: Array) -> Array:
        return plain_conv(x, kernel, stride, padding, dilation, groups=x.shape[-1])

    return lax.platform_dependent(x, kernel, cpu=taps, default=convolution)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _on_cpu(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    y = _sum_of_taps(x, kernel, stride, padding, dilation)
    # In memory where its loop is long, which every reader would run anew: ConvNeXt-Tiny's step took
    # 690 ms, so 600. Of 25 taps and fewer that gains nothing (MNASNet: 315 and 324).
    return materialized(y) if np.prod(kernel.shape[:-2]) > 25 else y


def _forward(x: Array, kernel: Array, *geometry: Any) -> tuple[Array, tuple[Array, Array]]:
    return _on_cpu(x, kernel, *geometry), (x, kernel)


def _backward(*arguments: Any) -> tuple[Array, Array]:
    *geometry, (x, kernel), dy = arguments
    dy = materialized(dy)  # a normalisation's gradient, say, which every tap would compute
    dx = _input_gradient(dy, kernel, x, *geometry)
    return dx, _kernel_gradient(x, dy, kernel.shape, kernel.dtype, *geometry)


_on_cpu.defvjp(_forward, _backward)


def _input_gradient(
    dy: Array,
    kernel: Array,
    x: Array,
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    """The gradient of `x`, which is linear in it and so gives its shape and type alone."""
    window = kernel.shape[:-2]
    # Places that lie `stride` apart are seen by so many taps, the same ones.
    if np.prod([-(-w // s) for w, s in zip(window, stride)]) <= TAPS_IN_ONE_LOOP:
        wide = jnp.promote_types(x.dtype, jnp.float32)

        def share(tap: tuple[int, ...], maps: Sequence[Array]) -> Array:
            weight = kernel[tap].astype(wide).reshape((1,) * (x.ndim - 1) + (-1,))
            return maps[0] * weight

        dx = sum_over_taps(
            [dy.astype(wide)],
            share,
            size=x.shape[1:-1],
            window=window,
            stride=stride,
            dilation=dilation,
            pads=edges(x.shape[1:-1], window, stride, padding, dilation),
        )
        return dx.astype(x.dtype)
    # `dy` with the stride's holes, correlated with the reversed kernel: slices once again.
    zeros = gradient_edges(x.shape[1:-1], window, stride, padding, dilation, dy.shape[1:-1])
    holed = lax.pad(dy, np.zeros((), dy.dtype), [(0, 0, 0), *zeros, (0, 0, 0)])
    reversed_kernel = jnp.flip(kernel, range(len(window)))
    ones = (1,) * len(window)
    return _on_cpu(holed, reversed_kernel, ones, ((0, 0),) * len(window), dilation).astype(x.dtype)


# A rule of its own because it is linear in `x` and in `dy`: derivatives of any order stay cheap.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5, 6))
def _kernel_gradient(
    x: Array,
    dy: Array,
    shape: tuple[int, ...],
    dtype: Any,
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    return _sums_of_products(x, dy, shape, stride, padding, dilation).astype(dtype)


def _kernel_gradient_forward(x: Array, dy: Array, *static: Any) -> tuple[Array, tuple]:
    return _kernel_gradient(x, dy, *static), (x, dy)


def _kernel_gradient_backward(*arguments: Any) -> tuple[Array, Array]:
    _, _, *geometry, (x, dy), cotangent = arguments
    dx = _input_gradient(dy, cotangent, x, *geometry)
    return dx, _on_cpu(x, cotangent, *geometry).astype(dy.dtype)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


# One reduction of several operands over a few rows: the compiler unrolls the rows and vectorises
# over the channels, and reads both maps once for all its taps. A sum over the whole map is scalar.
_TAPS_AT_ONCE = 9


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _sums_of_products(
    x: Array,
    dy: Array,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    window, height = shape[:-2], dy.shape[1]
    x = _padded(x, window, stride, padding, dilation)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows = min((8, 7, 6, 5, 4), key=lambda n: -height % n)
    fill = [(0, 0, 0), (0, -height % rows, 0), *[(0, 0, 0)] * (dy.ndim - 2)]
    chunked = (len(dy), -(-height // rows), rows, *dy.shape[2:])

    def product(tap: tuple[int, ...]) -> Array:
        values = _at_tap(x, tap, dy.shape[1:-1], stride, dilation).astype(wide) * dy.astype(wide)
        return lax.pad(values, np.zeros((), wide), fill).reshape(chunked)

    taps, sums = list(np.ndindex(*window)), []
    for first in range(0, len(taps), _TAPS_AT_ONCE):
        products = [product(tap) for tap in taps[first : first + _TAPS_AT_ONCE]]
        zeros = [np.zeros((), wide)] * len(products)
        sums += lax.reduce(
            products, zeros, lambda a, b: [u + v for u, v in zip(a, b)], dimensions=(2,)
        )
    return jnp.stack([s.sum(range(s.ndim - 1)) for s in sums]).reshape(shape)


# Jitted so that layers of one shape are traced once: a 7x7 window is 200 operations.
@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _sum_of_taps(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    window = kernel.shape[:-2]
    sizes = window_counts(x.shape[1:-1], window, stride, padding, dilation)
    x = _padded(x, window, stride, padding, dilation)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total = None
    for tap in np.ndindex(*window):
        shifted = _at_tap(x, tap, sizes, stride, dilation).astype(wide)
        weight = kernel[tap].astype(wide).reshape((1,) * (x.ndim - 1) + (-1,))
        total = shifted * weight if total is None else total + shifted * weight
    return total.astype(x.dtype)


def _padded(
    x: Array,
    window: Sequence[int],
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    around = edges(x.shape[1:-1], window, stride, padding, dilation)
    zeros = [(0, 0, 0), *((low, high, 0) for low, high in around), (0, 0, 0)]
    return lax.pad(x, np.zeros((), x.dtype), zeros)


def _at_tap(
    x: Array,
    tap: tuple[int, ...],
    sizes: Sequence[int],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """What the window's entry `tap` meets at every place of the window."""
    start = [i * d for i, d in zip(tap, dilation)]
    stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, sizes, stride)]
    return lax.slice(x, (0, *start, 0), (len(x), *stop, x.shape[-1]), (1, *stride, 1))
