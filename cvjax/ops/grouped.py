"""Grouped convolution: the channels are parted, and each part is convolved by itself.

On a CPU XLA runs it, and above all the gradient of its kernel, through generic loops. There the
groups are taken together in blocks of some 32 channels and each block is an ordinary convolution
whose kernel is 0 between channels of different groups. Milliseconds on 2 cores, batch 8, 3x3, 32
groups:

                                    forward       input gradient   kernel gradient
                                    XLA   blocks  XLA   blocks     XLA      blocks
    [32, 32, 128]                   27    4.8     23    4.7        3,394    8.8
    [16, 16, 256], stride 2         2.1   1.2     7.9   2.1        413      2.5
    [8, 8, 512]                     3.7   2.5     1.7   3.1        787      3.6

Accelerators keep XLA's convolution.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cvjax.ops.plain_conv import Padding, hashable, plain_conv
from cvjax.ops.window_conv import window_conv

# Channels of a block: fewer waste a matrix product's width, more multiply by more zeros. Each block
# is a convolution to compile, three in training.
_LEAST_WIDTH, _MOST_BLOCKS = 32, 16


def grouped_conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*window d k"],
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Float[Array, "b *out k"]:
    """`x` in c / d groups of d channels, each correlated with its share of the k kernels.

    One entry per spatial axis; `padding`: "SAME", "VALID" (as TensorFlow's) or (low, high) of zeros
    per axis. A NaN or infinity in one group reaches others on a CPU.

    Raises:
        ValueError: if c or k does not part into that many groups.
    """
    groups, rest = divmod(x.shape[-1], kernel.shape[-2])
    if rest or kernel.shape[-1] % groups:
        raise ValueError(
            f"{x.shape[-1]} channels in and {kernel.shape[-1]} out do not part into groups of "
            f"{kernel.shape[-2]} channels in. Both must be multiples of the number of groups."
        )
    stride, dilation, padding = tuple(stride), tuple(dilation), hashable(padding)

    def blocks(x: Array, kernel: Array) -> Array:
        return _in_blocks(x, kernel, groups, stride, padding, dilation)

    def convolution(x: Array, kernel: Array) -> Array:
        return plain_conv(x, kernel, stride, padding, dilation, groups=groups)

    return lax.platform_dependent(x, kernel, cpu=blocks, default=convolution)


# Jitted so that layers of one shape are traced once.
@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _in_blocks(
    x: Array,
    kernel: Array,
    groups: int,
    stride: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> Array:
    width_in, width_out = kernel.shape[-2], kernel.shape[-1] // groups
    together = max(-(-_LEAST_WIDTH // width_in), -(-groups // _MOST_BLOCKS))
    sizes = [min(together, groups - first) for first in range(0, groups, together)]
    # Split, not sliced: the gradients of slices are as wide as the whole, and added up.
    maps = lax.split(x, [width_in * n for n in sizes], axis=x.ndim - 1)
    kernels = lax.split(kernel, [width_out * n for n in sizes], axis=kernel.ndim - 1)
    parts = [
        window_conv(
            x, _block_diagonal(kernel, n), stride=stride, padding=padding, dilation=dilation
        )
        for x, kernel, n in zip(maps, kernels, sizes)
    ]
    return jnp.concatenate(parts, axis=-1)


def _block_diagonal(kernel: Array, groups: int) -> Array:
    """[*window, d, k] of groups -> [*window, groups d, k], 0 between different groups."""
    *window, width, count = kernel.shape
    own = jnp.eye(groups, dtype=kernel.dtype).reshape(*(1 for _ in window), groups, 1, groups, 1)
    apart = kernel.reshape(*window, 1, width, groups, count // groups) * own
    return apart.reshape(*window, groups * width, count)
