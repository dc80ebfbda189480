"""Convolution of large maps, trained faster on a CPU."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Array, Float

from cvjax.ops.materialized import materialized
from cvjax.ops.plain_conv import Padding, hashable, plain_conv

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

    For the gradient of the kernel XLA on a CPU transposes `x`, images last, in a loop into which it
    draws the normalisation and the nonlinearity that `x` comes from: in ResNet-18 at 32x32, batch
    64, that took 320 ms of a step. Of large maps both operands are therefore in memory before the
    loop; smaller ones gain nothing. Reverse mode of any order works; of large maps `jax.jvp` raises
    TypeError.
    """
    stride, dilation, padding = tuple(stride), tuple(dilation), hashable(padding)
    convolve = plain_conv if x.size < _LARGE else _large
    return convolve(x, kernel, stride, padding, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _large(
    x: Array,
    kernel: Array,
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    return plain_conv(x, kernel, stride, padding, dilation)


def _forward(x: Array, kernel: Array, *geometry: Any) -> tuple[Array, tuple[Array, Array]]:
    return plain_conv(x, kernel, *geometry), (x, kernel)


def _backward(*arguments: Any) -> tuple[Array, Array]:
    *geometry, (x, kernel), dy = arguments
    x, dy = materialized(x, kernel), materialized(dy, kernel)
    return jax.vjp(lambda x, kernel: plain_conv(x, kernel, *geometry), x, kernel)[1](dy)


_large.defvjp(_forward, _backward)
