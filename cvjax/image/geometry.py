"""Random movements of a picture, each drawn as a 3x3 matrix.

Every function takes a key and the picture's (height, width) and returns a matrix as in
`cvjax.image.matrix`; `cvjax.image.warp.warp(image, matrix)` moves the picture and
`cvjax.image.matrix.transform_points(points, matrix)` what was marked in it.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from cvjax.image.matrix import (
    Matrix,
    about_center,
    compose,
    crop_matrix,
    horizontal_flip_matrix,
    identity,
    rotation_matrix,
    scale_matrix,
    shear_matrix,
    translation_matrix,
    vertical_flip_matrix,
)
from cvjax.image.options import Interval, Number, check_interval, check_number, check_symmetric

_CROP_ATTEMPTS = 10


def horizontal_flip(key: Key[Array, ""], shape: tuple[int, int], *, p: Number = 0.5) -> Matrix:
    """With probability `p` the mirror image, left for right; otherwise the identity."""
    flipped = jax.random.bernoulli(key, check_number("p", p, low=0.0, high=1.0))
    return jnp.where(flipped, horizontal_flip_matrix(shape[1]), identity())


def vertical_flip(key: Key[Array, ""], shape: tuple[int, int], *, p: Number = 0.5) -> Matrix:
    """With probability `p` the mirror image, top for bottom; otherwise the identity."""
    flipped = jax.random.bernoulli(key, check_number("p", p, low=0.0, high=1.0))
    return jnp.where(flipped, vertical_flip_matrix(shape[0]), identity())


def random_crop(key: Key[Array, ""], shape: tuple[int, int], *, padding: int = 4) -> Matrix:
    """A window of the picture's own size from the picture padded by `padding` pixels on each side.

    Whole pixels, every one of the (2 padding + 1)^2 places alike: with padding 4 and a
    horizontal flip, the CIFAR-10 recipe of He et al. 2016 (https://arxiv.org/abs/1512.03385,
    section 4.2).
    """
    del shape
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise ValueError(f"padding={padding!r} must be a whole number of pixels, at least 0.")
    shift = jax.random.randint(key, (2,), -padding, padding + 1).astype(jnp.float32)
    return translation_matrix(shift[0], shift[1])


def random_resized_crop(
    key: Key[Array, ""],
    shape: tuple[int, int],
    *,
    scale: Interval = (0.08, 1.0),
    ratio: Interval = (3 / 4, 4 / 3),
) -> Matrix:
    """A window of random area and aspect ratio, resized to the picture's own size.

    Its area is U(`scale`) of the picture's and its width / height is drawn from `ratio`
    uniformly in the logarithm, anywhere inside the picture (Szegedy et al. 2015,
    https://arxiv.org/abs/1409.4842, section 6). The first of ten draws that fits is taken;
    where none does, the last, cut down to the picture.
    """
    scale = check_interval("scale", scale, low=1e-4, high=1.0)
    ratio = check_interval("ratio", ratio, low=1e-3, high=1e3)
    height, width = shape
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    attempts = (_CROP_ATTEMPTS,)
    area = jax.random.uniform(area_key, attempts, minval=scale[0], maxval=scale[1])
    log_ratio = jax.random.uniform(
        ratio_key, attempts, minval=math.log(ratio[0]), maxval=math.log(ratio[1])
    )
    widths = jnp.sqrt(area * height * width * jnp.exp(log_ratio))
    heights = jnp.sqrt(area * height * width * jnp.exp(-log_ratio))
    fits = ((widths <= width) & (heights <= height)).at[-1].set(True)
    first = jnp.argmax(fits)
    crop_width = jnp.minimum(widths[first], width)
    crop_height = jnp.minimum(heights[first], height)
    place = jax.random.uniform(place_key, (2,))
    left = place[0] * (width - crop_width)
    top = place[1] * (height - crop_height)
    return crop_matrix(left, top, crop_width, crop_height, shape=shape)


def zoom(key: Key[Array, ""], shape: tuple[int, int], *, scale: Interval = (0.8, 1.2)) -> Matrix:
    """The picture magnified about its centre, both ways alike, by a factor from U(`scale`)."""
    low, high = check_interval("scale", scale, low=1e-3)
    factor = jax.random.uniform(key, minval=low, maxval=high)
    return about_center(scale_matrix(factor, factor), shape)


def zoom_out(
    key: Key[Array, ""], shape: tuple[int, int], *, scale: Interval = (1.0, 4.0)
) -> Matrix:
    """The picture anywhere on a canvas U(`scale`) times as large, shown at the picture's own size.

    Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 3.6 ("expand"). The canvas is what
    `resample` fills in.
    """
    low, high = check_interval("scale", scale, low=1.0)
    factor_key, place_key = jax.random.split(key)
    factor = jax.random.uniform(factor_key, minval=low, maxval=high)
    return _rescaled(place_key, 1 / factor, shape)


def scale_jitter(
    key: Key[Array, ""], shape: tuple[int, int], *, scale: Interval = (0.1, 2.0)
) -> Matrix:
    """The picture U(`scale`) times as large, anywhere: a part of it, or with room around it.

    Ghiasi et al. 2021, "Simple copy-paste", https://arxiv.org/abs/2012.07177, section 3, where
    0.1 to 2 is "large scale jitter" and 0.8 to 1.25 the usual one.
    """
    low, high = check_interval("scale", scale, low=1e-2)
    factor_key, place_key = jax.random.split(key)
    factor = jax.random.uniform(factor_key, minval=low, maxval=high)
    return _rescaled(place_key, factor, shape)


def _rescaled(key: Key[Array, ""], factor: Array, shape: tuple[int, int]) -> Matrix:
    """`factor` times as large, at a random place: no margin on both sides, nothing cut on both."""
    room = jnp.asarray([shape[1], shape[0]], jnp.float32) * (1 - factor)
    shift = jax.random.uniform(key, (2,)) * room
    return compose(scale_matrix(factor, factor), translation_matrix(shift[0], shift[1]))


def stretch(
    key: Key[Array, ""], shape: tuple[int, int], *, ratio: Interval = (3 / 4, 4 / 3)
) -> Matrix:
    """The picture's aspect ratio changed about its centre by a factor from `ratio`; area kept.

    Uniform in the logarithm, so widening by a factor is as likely as narrowing by it.
    """
    low, high = check_interval("ratio", ratio, low=1e-3)
    log_ratio = jax.random.uniform(key, minval=math.log(low), maxval=math.log(high))
    half = jnp.exp(log_ratio / 2)
    return about_center(scale_matrix(half, 1 / half), shape)


def shear(
    key: Key[Array, ""],
    shape: tuple[int, int],
    *,
    degrees: Interval = 10.0,
    vertical_degrees: Interval = 0.0,
) -> Matrix:
    """The picture slanted about its centre: upright lines lean by an angle from U(`degrees`).

    A number d means (-d, d), in degrees below 90; level lines lean by `vertical_degrees`.
    """
    horizontal = check_symmetric("degrees", degrees, limit=89.0)
    vertical = check_symmetric("vertical_degrees", vertical_degrees, limit=89.0)
    low = jnp.radians(jnp.asarray([horizontal[0], vertical[0]]))
    high = jnp.radians(jnp.asarray([horizontal[1], vertical[1]]))
    x, y = jnp.tan(jax.random.uniform(key, (2,), minval=low, maxval=high))
    return about_center(shear_matrix(x, y), shape)


def rotate(key: Key[Array, ""], shape: tuple[int, int], *, degrees: Interval = 15.0) -> Matrix:
    """The picture turned about its centre by an angle from U(`degrees`), counter-clockwise.

    A number d means (-d, d), in degrees.
    """
    low, high = check_symmetric("degrees", degrees)
    angle = jax.random.uniform(key, minval=low, maxval=high)
    return about_center(rotation_matrix(jnp.radians(angle)), shape)


def translate(
    key: Key[Array, ""],
    shape: tuple[int, int],
    *,
    fraction: Number | Sequence[Number] = 0.1,
    whole_pixels: bool = True,
) -> Matrix:
    """The picture shifted each way by up to `fraction` of its size, uniformly.

    `fraction` may be a pair (horizontal, vertical). Shifts are rounded to whole pixels, which
    copies instead of interpolating, unless `whole_pixels` is False.
    """
    pair = (fraction, fraction) if isinstance(fraction, Number) else tuple(fraction)
    if len(pair) != 2:
        raise ValueError(f"fraction={fraction!r} must be a number or (horizontal, vertical).")
    limits = [check_number("fraction", f, low=0.0, high=1.0) for f in pair]
    if not isinstance(whole_pixels, bool):
        raise ValueError(f"whole_pixels={whole_pixels!r} must be True or False.")
    height, width = shape
    limit = jnp.asarray([limits[0] * width, limits[1] * height])
    shift = jax.random.uniform(key, (2,), minval=-limit, maxval=limit)
    if whole_pixels:
        shift = jnp.rint(shift)
    return translation_matrix(shift[0], shift[1])
