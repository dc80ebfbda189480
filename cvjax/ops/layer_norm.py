"""Normalisation by the moments of a place's channels (Ba et al. 2016,
https://arxiv.org/abs/1607.06450), with a gradient that reads its maps few times on a CPU.

From the formulas as they stand XLA on a CPU writes what lies between them to memory, statistics as
wide as the map among it. Forward and backward of 8 maps of 32x32 with 96 channels on 2 cores: 4.3
ms; here 1.8 (PyTorch 1.5). Accelerators differentiate the formulas, which they fuse.

Reverse mode of any order works; on a CPU `jax.jvp` raises TypeError.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cvjax.ops.channel_sums import channel_sums, wide


def layer_normalized(
    x: Float[Array, "b *space c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
) -> Float[Array, "b *space c"]:
    """(x - mean) / sqrt(var + epsilon) scale + bias, in float32.

    Mean and biased variance are over the channels of every place; the variance is of the distances
    from the mean, because the difference of two large moments loses the digits that matter.
    """
    if jax.default_backend() == "cpu":
        return _on_cpu(x, scale, bias, epsilon)
    return _normalized(x, scale, bias, epsilon)[0]


def _normalized(
    x: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[Array, tuple[Array, Array]]:
    """The result; every place's mean and 1 / sqrt(var + epsilon), [B, ..., 1]."""
    x = x.astype(jnp.float32)
    share = jnp.full(x.shape[-1], np.float32(1 / x.shape[-1]))
    mean = _weighted_sum(x, share)
    inverse = lax.rsqrt(_weighted_sum(jnp.square(x - mean), share) + epsilon)
    y = (x - mean) * inverse * wide(scale, x) + wide(bias, x)
    return y, (mean, inverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _on_cpu(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    return _normalized(x, scale, bias, epsilon)[0]


def _forward(
    x: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[Array, tuple[Array, ...]]:
    y, statistics = _normalized(x, scale, bias, epsilon)
    return y, (x, scale, *statistics)


def _backward(
    epsilon: float, residuals: tuple[Array, ...], dy: Array
) -> tuple[Array, Array, Array]:
    x, scale, mean, inverse = residuals
    unit = (x.astype(jnp.float32) - mean) * inverse
    weighted = dy * unit
    dbias, dscale = channel_sums(dy, weighted)
    # y depends on x by itself, by the mean and by the variance.
    by_mean = _weighted_sum(dy, scale) / x.shape[-1]
    by_variance = _weighted_sum(weighted, scale) / x.shape[-1]
    dx = inverse * (dy * wide(scale, x) - by_mean - unit * by_variance)
    return dx.astype(x.dtype), dscale, dbias


_on_cpu.defvjp(_forward, _backward)


def _weighted_sum(x: Array, weights: Array) -> Array:
    """Over the channels, [B, ..., 1]. A product, because a CPU's sums of rows are slow."""
    return (x @ weights)[..., None]
