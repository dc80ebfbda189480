"""Products of every place's channels with a matrix: dense layers and 1x1 convolutions on a CPU.

What differs from XLA's own is the gradient of the matrix, x^T dy. For a 1x1 convolution XLA on a
CPU transposes both maps, channels first, and convolves: 340 of 600 ms of a training step of
ResNet-50 at 128 pixels, batch 8, went into transposing. Of a dense layer it transposes dy, and
computes there once more what dy is made of, at a residual connection all the layers behind: 540 of
1,830 ms of ViT-Tiny's. Here it is a product of matrices [places, channels], which needs neither.
Forward, 1x1 convolutions stay convolutions, which are faster than products.

Reverse mode of any order works; `jax.jvp` raises TypeError.
"""

from collections.abc import Sequence

import jax
from jax import lax
from jaxtyping import Array, Float

from cvjax.ops.plain_conv import plain_conv

# XLA transposes a convolution's kernel for its input's gradient, 8 ms for 1024 x 2048; a product
# reads it as it lies, and is itself slower than a convolution, which shows where kernels are small.
_LARGE_KERNEL = 2**18


@jax.custom_vjp
def dense_product(x: Float[Array, "*places c"], kernel: Float[Array, "c k"]) -> Array:
    """[*places, k]: `x` times `kernel`."""
    return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def pointwise_conv(
    x: Float[Array, "b *space c"], kernel: Float[Array, "*ones c k"], *, stride: Sequence[int]
) -> Float[Array, "b *out k"]:
    """`x` at every `stride`-th place times `kernel`, whose window is a single place."""
    if any(s > 1 for s in stride):
        x = lax.slice(x, (0,) * x.ndim, x.shape, (1, *stride, 1))
    return _convolution(x, kernel)


@jax.custom_vjp
def _convolution(x: Array, kernel: Array) -> Array:
    ones = (1,) * (x.ndim - 2)
    return plain_conv(x, kernel, ones, "VALID", ones)


def _convolution_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolution(x, kernel), (x, kernel)


def _convolution_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    if kernel.size < _LARGE_KERNEL:
        dx = _convolution(dy, kernel.swapaxes(-2, -1))
    else:
        dx = dense_product(dy, kernel.reshape(kernel.shape[-2:]).T)
    return dx, _matrix_gradient(x, dy).reshape(kernel.shape)


_convolution.defvjp(_convolution_forward, _convolution_backward)


def _dense_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return dense_product(x, kernel), (x, kernel)


def _dense_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return dense_product(dy, kernel.T), _matrix_gradient(x, dy)


dense_product.defvjp(_dense_forward, _dense_backward)


def _matrix_gradient(x: Array, dy: Array) -> Array:
    # As matrices: XLA on a CPU transposes operands that share several axes, before multiplying.
    x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return lax.dot_general(x, dy, (((0,), (0,)), ((), ())))
