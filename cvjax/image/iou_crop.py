"""SSD's random crop, which keeps a sought share of some object."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from cvjax.image.matrix import Matrix, crop_matrix, identity
from cvjax.image.options import Interval, Number, check_interval, check_number
from cvjax.ops.boxes import pairwise_iou


def iou_crop(
    key: Key[Array, ""],
    shape: tuple[int, int],
    boxes: Float[Array, "n 4"],
    valid: Bool[Array, " n"],
    *,
    thresholds: Sequence[Number] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    whole: Number = 1 / 7,
    scale: Interval = (0.3, 1.0),
    ratio: Interval = (0.5, 2.0),
    tries: int = 40,
) -> Matrix:
    """A window that overlaps some object enough, resized to the picture's own size.

    One of `thresholds` is drawn. Windows have sides of U(`scale`) of the picture's and a width /
    height within `ratio`; the first of `tries` counts that overlaps an object whose centre lies
    in it by an IoU of at least the threshold. With probability `whole`, or where no try counts
    (as without objects), the picture stays. Liu et al. 2016, https://arxiv.org/abs/1512.02325,
    section 2.2; shares as in torchvision's RandomIoUCrop, which draws a threshold anew where no
    try counts.

    Raises:
        ValueError: for an option out of range.
    """
    limits = [check_number("thresholds", t, low=0.0, high=1.0) for t in thresholds]
    if not limits:
        raise ValueError("thresholds must name at least one IoU.")
    whole = check_number("whole", whole, low=0.0, high=1.0)
    scale = check_interval("scale", scale, low=1e-2, high=1.0)
    ratio = check_interval("ratio", ratio, low=1e-2, high=1e2)
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise ValueError(f"tries={tries!r} must be a whole number, at least 1.")
    height, width = shape
    stay_key, limit_key, side_key, place_key = jax.random.split(key, 4)
    limit = jax.random.choice(limit_key, jnp.asarray(limits, jnp.float32))
    sides = jax.random.uniform(side_key, (tries, 2), minval=scale[0], maxval=scale[1])
    sides = sides * jnp.asarray([[width, height]], jnp.float32)
    size = jnp.asarray([[width, height]], jnp.float32)
    corner = jax.random.uniform(place_key, (tries, 2)) * (size - sides)
    windows = jnp.concatenate([corner, corner + sides], axis=1)  # [T, 4]

    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (center[None] > windows[:, None, :2]) & (center[None] < windows[:, None, 2:])
    counts = inside.all(axis=-1) & valid[None] & (pairwise_iou(windows, boxes) >= limit)  # [T, N]
    aspect = sides[:, 0] / sides[:, 1]
    fits = counts.any(axis=1) & (aspect >= ratio[0]) & (aspect <= ratio[1])
    first = jnp.argmax(fits)
    left, top = windows[first, 0], windows[first, 1]
    crop = crop_matrix(left, top, sides[first, 0], sides[first, 1], shape=shape)
    stays = jax.random.bernoulli(stay_key, whole) | ~fits.any()
    return jnp.where(stays, identity(), crop)
