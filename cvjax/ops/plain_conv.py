"""XLA's convolution of maps whose channels are last, for any number of axes of space."""

from collections.abc import Sequence

from jax import lax
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]


def plain_conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*window d k"],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    *,
    groups: int = 1,
) -> Float[Array, "b *out k"]:
    """`x` correlated with `kernel`, c = groups d; one entry per axis of space.

    `padding`: "SAME", "VALID" (as TensorFlow's) or (low, high) of zeros per axis.
    """
    axes = tuple(range(1, x.ndim - 1))
    image = (0, x.ndim - 1, *axes)
    weights = (x.ndim - 1, x.ndim - 2, *(i - 1 for i in axes))
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=lax.ConvDimensionNumbers(image, weights, image),
        feature_group_count=groups,
    )


def hashable(padding: Padding) -> str | tuple[tuple[int, int], ...]:
    """The same padding as something that a jitted function can be specialised on."""
    return padding if isinstance(padding, str) else tuple((low, high) for low, high in padding)


def edges(
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Sequence[tuple[int, int]]:
    """The zeros (low, high) that `padding` puts around maps of `sizes`, per axis of space."""
    if not isinstance(padding, str):
        return padding
    reach = [d * (w - 1) + 1 for w, d in zip(window, dilation)]
    return lax.padtype_to_pads(sizes, reach, stride, padding)


def window_counts(
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> list[int]:
    """How many windows fit into maps of `sizes` with `padding`, per axis of space."""
    around = edges(sizes, window, stride, padding, dilation)
    return [
        (n + low + high - d * (w - 1) - 1) // s + 1
        for n, (low, high), w, s, d in zip(sizes, around, window, stride, dilation)
    ]


def gradient_edges(
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    windows: Sequence[int],
) -> list[tuple[int, int, int]]:
    """Zeros (low, high, between) for `lax.pad` of what comes from behind, of `windows` places.

    Correlated with the reversed kernel, at stride 1 and with the same dilation, the result is the
    gradient of the map, of `sizes`. A negative number cuts off.
    """
    zeros = []
    around = edges(sizes, window, stride, padding, dilation)
    for size, w, s, (low, _), d, n in zip(sizes, window, stride, around, dilation, windows):
        zeros.append((d * (w - 1) - low, size + low - (n - 1) * s - 1, s - 1))
    return zeros
