"""Parts of the picture taken away, so that a model cannot rely on any one of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from cvjax.image.options import Number, check_number


def cutout(
    key: Key[Array, ""],
    image: Float[Array, "h w c"],
    *,
    size: Number = 0.5,
    value: Number = 0.0,
) -> Float[Array, "h w c"]:
    """`image` with a square set to `value` (DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552).

    The square's centre is any pixel, each alike, so at the border part of the square falls
    outside, as in the paper. `size` is the square's side: a whole number is pixels (the paper's 16
    for CIFAR-10), a float in [0, 1] a share of the picture's shorter side.
    In `train_transform` this comes after normalisation, so 0 is the mean colour.
    """
    height, width, _ = image.shape
    if isinstance(size, int) and not isinstance(size, bool):
        side = int(check_number("size", size, low=1))
    else:
        side = round(check_number("size", size, low=0.0, high=1.0) * min(height, width))
    if not side:
        return image
    row_key, column_key = jax.random.split(key)
    top = jax.random.randint(row_key, (), 0, height) - side // 2
    left = jax.random.randint(column_key, (), 0, width) - side // 2
    hole = rectangle(top, left, top + side, left + side, shape=(height, width))
    return jnp.where(hole[..., None], value, image)


def rectangle(
    top: Int[Array, ""],
    left: Int[Array, ""],
    bottom: Int[Array, ""],
    right: Int[Array, ""],
    *,
    shape: tuple[int, int],
) -> Bool[Array, "h w"]:
    """True on rows [top, bottom) and columns [left, right) of a picture of `shape` (h, w)."""
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    return in_rows[:, None] & in_columns[None, :]
