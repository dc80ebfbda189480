"""A twin of Keras's ImageDataGenerator, so that recipes written for it can be repeated.

Same options, names, defaults, order of composition, interpolation and filling; checked against
`apply_affine_transform` of Keras 3.15. The classic recipe (Chollet 2016, "Building powerful image
classification models using very little data"):
    image_data_generator(key, image, rotation_range=40, width_shift_range=0.2,
        height_shift_range=0.2, shear_range=0.2, zoom_range=0.2, horizontal_flip=True)
A shear of 0.2 is a fifth of a degree, as in Keras today; the Keras of that text took radians.

Differs from Keras where the code there departs from its documentation: `width_shift_range` moves
pictures sideways and `height_shift_range` up and down (there each moves the other way round), and
everything turns about the centre of pictures that are not square, too.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from cvjax.image.matrix import (
    Matrix,
    about_center,
    compose,
    horizontal_flip_matrix,
    identity,
    invert,
    vertical_flip_matrix,
)
from cvjax.image.options import Interval, Number, check_interval, check_number
from cvjax.image.warp import warp

# Keras's names are scipy's, whose `constant` and `wrap` measure from centre to centre of pixels.
_FILLS = {
    "constant": "scipy_constant",
    "nearest": "nearest",
    "reflect": "reflect",
    "wrap": "scipy_wrap",
}


def image_data_generator(
    key: Key[Array, ""],
    image: Float[Array, "h w c"],
    *,
    rotation_range: Number = 0,
    width_shift_range: Number | Sequence[Number] = 0.0,
    height_shift_range: Number | Sequence[Number] = 0.0,
    brightness_range: Sequence[Number] | None = None,
    shear_range: Number = 0.0,
    zoom_range: Interval = 0.0,
    channel_shift_range: Number = 0.0,
    fill_mode: str = "nearest",
    cval: Number = 0.0,
    horizontal_flip: bool = False,
    vertical_flip: bool = False,
    interpolation_order: int = 1,
) -> Float[Array, "h w c"]:
    """`image` as Keras's ImageDataGenerator with these options might have returned it.

    rotation_range, shear_range: degrees, uniform in (-range, range).
    width_shift_range, height_shift_range: a float below 1 is a share of the size, from 1 on
        pixels, uniform; an int n is 0 to n - 1 whole pixels, a sequence a choice, either way.
    zoom_range: z means (1 - z, 1 + z); drawn for each axis, below 1 magnifies.
    brightness_range: (low, high) of the factor.
    fill_mode: "constant" (with `cval`), "nearest", "reflect" or "wrap".

    Colours are in [0, 1]: `cval` and `channel_shift_range` are Keras's divided by 255.
    """
    if fill_mode not in _FILLS:
        raise ValueError(f"fill_mode={fill_mode!r} is unknown. Known: {', '.join(_FILLS)}.")
    move_key, channel_key, brightness_key = jax.random.split(key, 3)
    matrix = random_affine_matrix(
        move_key,
        image.shape[:2],
        rotation_range=rotation_range,
        width_shift_range=width_shift_range,
        height_shift_range=height_shift_range,
        shear_range=shear_range,
        zoom_range=zoom_range,
        horizontal_flip=horizontal_flip,
        vertical_flip=vertical_flip,
    )
    moved = warp(image, matrix, fill=_FILLS[fill_mode], value=cval, order=interpolation_order)
    limit = check_number("channel_shift_range", channel_shift_range, low=0.0)
    if limit:
        shift = jax.random.uniform(channel_key, minval=-limit, maxval=limit)
        moved = jnp.clip(moved + shift, moved.min(), moved.max())
    if brightness_range is not None:
        low, high = check_interval("brightness_range", brightness_range, low=0.0)
        factor = jax.random.uniform(brightness_key, minval=low, maxval=high)
        moved = jnp.clip(moved * factor, 0.0, 1.0)
    return moved


def random_affine_matrix(
    key: Key[Array, ""],
    shape: tuple[int, int],
    *,
    rotation_range: Number = 0,
    width_shift_range: Number | Sequence[Number] = 0.0,
    height_shift_range: Number | Sequence[Number] = 0.0,
    shear_range: Number = 0.0,
    zoom_range: Interval = 0.0,
    horizontal_flip: bool = False,
    vertical_flip: bool = False,
) -> Matrix:
    """The random movement of `image_data_generator`, for a picture of `shape` (h, w)."""
    height, width = shape
    keys = jax.random.split(key, 6)
    rotation = check_number("rotation_range", rotation_range, low=0.0)
    shear = check_number("shear_range", shear_range, low=0.0)
    if isinstance(zoom_range, Number):
        zoom_range = (1 - zoom_range, 1 + zoom_range)
    zoom_low, zoom_high = check_interval("zoom_range", zoom_range, low=1e-3)
    zoom = jax.random.uniform(keys[0], (2,), minval=zoom_low, maxval=zoom_high)
    matrix = affine_matrix(
        shape,
        theta=jax.random.uniform(keys[1], minval=-rotation, maxval=rotation),
        tx=_shift("width_shift_range", keys[2], width_shift_range, width),
        ty=_shift("height_shift_range", keys[3], height_shift_range, height),
        shear=jax.random.uniform(keys[4], minval=-shear, maxval=shear),
        zx=zoom[0],
        zy=zoom[1],
    )
    flip_x, flip_y = jax.random.bernoulli(keys[5], 0.5, (2,))
    if horizontal_flip:
        flip = jnp.where(flip_x, horizontal_flip_matrix(width), identity())
        matrix = compose(matrix, flip)
    if vertical_flip:
        flip = jnp.where(flip_y, vertical_flip_matrix(height), identity())
        matrix = compose(matrix, flip)
    return matrix


def affine_matrix(
    shape: tuple[int, int],
    *,
    theta: Float[Array, ""] | Number = 0.0,
    tx: Float[Array, ""] | Number = 0.0,
    ty: Float[Array, ""] | Number = 0.0,
    shear: Float[Array, ""] | Number = 0.0,
    zx: Float[Array, ""] | Number = 1.0,
    zy: Float[Array, ""] | Number = 1.0,
) -> Matrix:
    """The matrix that moves a picture as Keras's `apply_affine_transform` of these parameters.

    theta, shear: degrees. tx, ty: pixels to the left and up. zx, zy: below 1 magnifies. Keras
    describes the way back, from output to input, as rotation @ shift @ shear @ zoom.
    """
    theta, shear = jnp.radians(theta), jnp.radians(shear)
    rows = [
        [[jnp.cos(theta), -jnp.sin(theta), 0.0], [jnp.sin(theta), jnp.cos(theta), 0.0]],
        [[1.0, 0.0, tx], [0.0, 1.0, ty]],
        [[1.0, -jnp.sin(shear), 0.0], [0.0, jnp.cos(shear), 0.0]],
        [[zx, 0.0, 0.0], [0.0, zy, 0.0]],
    ]
    rotation, shift, slant, zoom = (jnp.array([*r, [0.0, 0.0, 1.0]], jnp.float32) for r in rows)
    return invert(about_center(compose(zoom, slant, shift, rotation), shape))


def _shift(
    name: str, key: Key[Array, ""], value: Number | Sequence[Number], size: int
) -> Float[Array, ""]:
    """A shift in pixels, by Keras's three meanings of a shift range."""
    if isinstance(value, float):
        limit = check_number(name, value, low=0.0)
        shift = jax.random.uniform(key, minval=-limit, maxval=limit)
        return shift * size if limit < 1 else shift
    if isinstance(value, int):
        value = range(max(1, int(check_number(name, value, low=0))))
    choices = np.asarray([check_number(name, v) for v in value], np.float32)
    if not len(choices):
        raise ValueError(f"{name}=() offers no shift to choose from.")
    choice_key, sign_key = jax.random.split(key)
    shift = jax.random.choice(choice_key, choices) * jax.random.rademacher(sign_key, ())
    return shift * size if choices.max() < 1 else shift
