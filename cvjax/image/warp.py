"""One resampling of a picture by a 3x3 matrix.

However many geometric augmentations there are, their matrices are multiplied first
(`cvjax.image.matrix.compose`) and the picture is resampled once, so nothing is blurred twice
and nothing that one step pushes out of sight is lost to the next.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.image.matrix import Matrix, invert
from cvjax.image.options import Number, check_number

# What lies outside the picture `abcd`, as one row of pixels:
#   constant  kkkk|abcd|kkkk   the border of the picture is the border of its outermost pixels
#   nearest   aaaa|abcd|dddd
#   reflect   dcba|abcd|dcba
#   wrap      abcd|abcd|abcd
# The scipy_ modes are `constant` and `wrap` of scipy.ndimage, which Keras's ImageDataGenerator
# uses. There the picture ends at the centres of its outermost pixels: half a pixel more
# is filled, and wrapping lays the last pixel over the first.
FILL_MODES = ("constant", "nearest", "reflect", "wrap", "scipy_constant", "scipy_wrap")

# Pixels. The scipy_ modes jump at the very centres of the outermost pixels, where many matrices
# put a whole row; rounding in float32 must not throw it out.
_ROUNDING = 1e-4


def warp(
    image: Float[Array, "h w c"],
    matrix: Matrix,
    *,
    shape: tuple[int, int] | None = None,
    fill: str = "constant",
    value: Number = 0.0,
    order: int = 1,
) -> Float[Array, "h2 w2 c"]:
    """`image` moved by `matrix`, which maps input points to output points.

    `shape` is the output's (h, w), by default the input's. `fill` is one of `FILL_MODES`;
    `value` is what `constant` fills in. `order` 1 is bilinear, 0 the nearest pixel. Where the
    matrix moves pixels onto pixels (flips, quarter turns, whole shifts) both are exact.
    Differentiable in the image and, at order 1, in the matrix. Not antialiased: a matrix
    that shrinks the picture below a half skips pixels.

    Raises:
        ValueError: for an unknown fill or order.
    """
    _check(fill, value, order)
    height, width, channels = image.shape
    out_height, out_width = shape or (height, width)
    inverse = invert(matrix)
    x = jnp.arange(out_width, dtype=jnp.float32)[None, :] + 0.5
    y = jnp.arange(out_height, dtype=jnp.float32)[:, None] + 0.5
    # Index of the input, real-valued: 0 is the first pixel's centre.
    column = inverse[0, 0] * x + inverse[0, 1] * y + (inverse[0, 2] - 0.5)
    row = inverse[1, 0] * x + inverse[1, 1] * y + (inverse[1, 2] - 0.5)

    pixels = image.reshape(height * width, channels)

    def at(i: Int[Array, "h2 w2"], j: Int[Array, "h2 w2"]) -> Float[Array, "h2 w2 c"]:
        return pixels.at[i * width + j].get(mode="promise_in_bounds")

    if order == 0:
        i, row_inside = _nearest(row, height, fill)
        j, column_inside = _nearest(column, width, fill)
        result = at(i, j)
    else:
        i0, i1, down, row_inside = _neighbours(row, height, fill)
        j0, j1, right, column_inside = _neighbours(column, width, fill)
        down, right = down[..., None], right[..., None]
        above = at(i0, j0) * (1 - right) + at(i0, j1) * right
        below = at(i1, j0) * (1 - right) + at(i1, j1) * right
        result = above * (1 - down) + below * down
    return _fill_outside(result, row_inside & column_inside, fill, value)


def move_whole_pixels(
    image: Float[Array, "h w c"],
    matrix: Matrix,
    *,
    fill: str = "constant",
    value: Number = 0.0,
) -> Float[Array, "h w c"]:
    """`warp` for a `matrix` of flips and whole-pixel shifts alone: copies rows, then columns.

    Equal to `warp` bit for bit, at a fraction of its cost. Any other matrix gives nonsense.
    """
    _check(fill, value, 0)
    height, width, _ = image.shape
    inverse = invert(matrix)
    row = inverse[1, 1] * (jnp.arange(height) + 0.5) + (inverse[1, 2] - 0.5)
    column = inverse[0, 0] * (jnp.arange(width) + 0.5) + (inverse[0, 2] - 0.5)
    i, row_inside = _nearest(row, height, fill)
    j, column_inside = _nearest(column, width, fill)
    rows = image.at[i].get(mode="promise_in_bounds")
    result = rows.at[:, j].get(mode="promise_in_bounds")
    return _fill_outside(result, row_inside[:, None] & column_inside[None, :], fill, value)


def _check(fill: str, value: Number, order: int) -> None:
    check_number("value", value)
    if fill not in FILL_MODES:
        raise ValueError(f"fill={fill!r} is unknown. Known: {', '.join(FILL_MODES)}.")
    if order not in (0, 1):
        raise ValueError(f"order={order!r} must be 0 (nearest pixel) or 1 (bilinear).")


def _fill_outside(
    image: Float[Array, "h w c"], inside: Bool[Array, "h w"], fill: str, value: Number
) -> Float[Array, "h w c"]:
    if fill not in ("constant", "scipy_constant"):
        return image
    # A product, not `where`: XLA's CPU code for it is two to four times as fast.
    share = inside.astype(image.dtype)[..., None]
    return image * share + value * (1 - share)


def _nearest(
    index: Float[Array, "*s"], size: int, fill: str
) -> tuple[Int[Array, "*s"], Bool[Array, "*s"]]:
    """The pixel whose square holds each real-valued `index`, and whether it is in the picture."""
    folded, inside = _fold(index, size, fill)
    pixel = jnp.floor(folded + 0.5).astype(jnp.int32)
    return _in_bounds(pixel, size, fill), inside


def _neighbours(
    index: Float[Array, "*s"], size: int, fill: str
) -> tuple[Int[Array, "*s"], Int[Array, "*s"], Float[Array, "*s"], Bool[Array, "*s"]]:
    """The pixels before and after each real-valued `index`, the weight of the one after, inside."""
    folded, inside = _fold(index, size, fill)
    before = jnp.floor(folded)
    first = before.astype(jnp.int32)
    return (
        _in_bounds(first, size, fill),
        _in_bounds(first + 1, size, fill),
        folded - before,
        inside,
    )


def _fold(
    index: Float[Array, "*s"], size: int, fill: str
) -> tuple[Float[Array, "*s"], Bool[Array, "*s"]]:
    """`index` brought back to where the picture has pixels, and whether it was there before."""
    last = size - 1
    if fill == "constant":
        inside = (index >= -0.5) & (index < size - 0.5)
    else:
        inside = (index >= -_ROUNDING) & (index <= last + _ROUNDING)
    if fill == "reflect":
        turned = jnp.mod(index + 0.5, 2 * size)
        folded = jnp.minimum(turned, 2 * size - turned) - 0.5
    elif fill == "wrap":
        folded = jnp.mod(index, size)
    elif fill == "scipy_wrap" and size > 1:
        up = index + last * (jnp.floor(-index / last) + 1)
        down = index - last * jnp.floor(index / last)
        folded = jnp.where(inside, jnp.clip(index, 0, last), jnp.where(index < 0, up, down))
    else:
        folded = jnp.clip(index, 0, last)
    return folded, inside


def _in_bounds(pixel: Int[Array, "*s"], size: int, fill: str) -> Int[Array, "*s"]:
    if fill == "wrap":
        return jnp.mod(pixel, size)
    return jnp.clip(pixel, 0, size - 1)
