"""Convolution of large maps, trained faster on a CPU."""

import functools
from collections.abc import Sequence

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
    geometry = tuple(stride), hashable(padding), tuple(dilation)
    if x.size < _LARGE:
        return plain_conv(x, kernel, *geometry)
    return _large(x, kernel, geometry)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _large(x: Array, kernel: Array, geometry: tuple) -> Array:
    return plain_conv(x, kernel, *geometry)


def _forward(x: Array, kernel: Array, geometry: tuple) -> tuple[Array, tuple[Array, Array]]:
    return plain_conv(x, kernel, *geometry), (x, kernel)


def _backward(geometry: tuple, residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    x, dy = materialized(x, kernel), materialized(dy, kernel)
    return jax.vjp(lambda x, kernel: plain_conv(x, kernel, *geometry), x, kernel)[1](dy)


_large.defvjp(_forward, _backward)
