"""Boxes: formats, areas, and how much two of them overlap.

A box is (x1, y1, x2, y2) in pixels, half-open: it covers [x1, x2) x [y1, y2), so its width is
x2 - x1 and a whole picture is (0, 0, width, height). Other formats exist only at the edges, behind
the converters here. A box with x2 <= x1 or y2 <= y1 is empty: its area is 0, it overlaps nothing,
and the gradient of every overlap with it is finite.

Whatever the boxes' type, the arithmetic is float32 (float64 stays float64).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

Boxes = Float[Array, "*b 4"]


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """(left, top, width, height), COCO's format, as (x1, y1, x2, y2)."""
    x, y, w, h = _parts(boxes)
    return jnp.stack([x, y, x + w, y + h], axis=-1)


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """(x1, y1, x2, y2) as (left, top, width, height), COCO's format."""
    x1, y1, x2, y2 = _parts(boxes)
    return jnp.stack([x1, y1, x2 - x1, y2 - y1], axis=-1)


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """(centre x, centre y, width, height) as (x1, y1, x2, y2)."""
    cx, cy, w, h = _parts(boxes)
    return jnp.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=-1)


def xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """(x1, y1, x2, y2) as (centre x, centre y, width, height)."""
    x1, y1, x2, y2 = _parts(boxes)
    return jnp.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=-1)


def box_area(boxes: Boxes) -> Float[Array, "*b"]:
    """Square pixels; 0 for an empty box, also for an inverted one."""
    x1, y1, x2, y2 = _parts(boxes)
    return _length(x1, x2) * _length(y1, y2)


def clip_boxes(boxes: Boxes, shape: tuple[int, int]) -> Boxes:
    """`boxes` cut to a picture of `shape` (h, w); one that lies outside becomes empty."""
    height, width = shape
    x1, y1, x2, y2 = _parts(boxes)
    return jnp.stack(
        [jnp.clip(x1, 0, width), jnp.clip(y1, 0, height),
         jnp.clip(x2, 0, width), jnp.clip(y2, 0, height)], axis=-1
    )  # fmt: skip


def is_large(boxes: Boxes, min_size: float) -> Bool[Array, "*b"]:
    """Whether both sides of each box are at least `min_size` pixels."""
    x1, y1, x2, y2 = _parts(boxes)
    return (x2 - x1 >= min_size) & (y2 - y1 >= min_size)


def mask_boxes(masks: Shaped[Array, "*n h w"]) -> Float[Array, "*n 4"]:
    """The smallest box around the true (non-zero) pixels of each mask; all 0 where there are none.

    Half-open, so a single pixel (row i, column j) gives (j, i, j + 1, i + 1).
    """
    masks = masks != 0
    columns, rows = masks.any(axis=-2), masks.any(axis=-1)
    x1, x2 = _extent(columns)
    y1, y2 = _extent(rows)
    return jnp.stack([x1, y1, x2, y2], axis=-1).astype(jnp.float32)


def pairwise_iou(boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """Area of the intersection over area of the union, in [0, 1]; 0 where both are empty."""
    return iou(boxes[:, None], others[None])


def pairwise_giou(boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """`giou` of every pair."""
    return giou(boxes[:, None], others[None])


def pairwise_diou(boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """`diou` of every pair."""
    return diou(boxes[:, None], others[None])


def pairwise_ciou(boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """`ciou` of every pair."""
    return ciou(boxes[:, None], others[None])


def pairwise_coverage(
    boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]
) -> Float[Array, "n m"]:
    """The share of each of `boxes` that lies in each of `others`, in [0, 1]; 0 for an empty box.

    COCO's overlap with crowd regions, and what is left of an object in a crop.
    """
    inter, _ = _overlap(boxes[:, None], others[None])
    return _ratio(inter, jnp.broadcast_to(box_area(boxes)[:, None], inter.shape))


def iou(boxes: Float[Array, "*#b 4"], others: Float[Array, "*#b 4"]) -> Float[Array, "*b"]:
    """Intersection over union of corresponding boxes, in [0, 1]; 0 where both are empty."""
    inter, union = _overlap(boxes, others)
    return _ratio(inter, union)


def giou(boxes: Float[Array, "*#b 4"], others: Float[Array, "*#b 4"]) -> Float[Array, "*b"]:
    """IoU minus the unused share of the smallest box around both, in [-1, 1].

    Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630, algorithm 1.
    """
    inter, union = _overlap(boxes, others)
    w, h = _hull(boxes, others)
    hull = w * h
    return _ratio(inter, union) - _ratio(hull - union, hull)


def diou(boxes: Float[Array, "*#b 4"], others: Float[Array, "*#b 4"]) -> Float[Array, "*b"]:
    """IoU minus the squared distance of the centres over that of the hull's corners, in [-1, 1].

    Zheng et al. 2020, https://arxiv.org/abs/1911.08287, eq. 6.
    """
    return iou(boxes, others) - _center_distance(boxes, others)


def ciou(boxes: Float[Array, "*#b 4"], others: Float[Array, "*#b 4"]) -> Float[Array, "*b"]:
    """DIoU minus alpha v, v the squared difference of the aspects' angles over (pi / 2)^2.

    Zheng et al. 2020, https://arxiv.org/abs/1911.08287, eq. 8 to 11. alpha is a constant to the
    gradient, as in the paper's text and torchvision.
    """
    overlap = iou(boxes, others)
    v = jnp.square(_aspect_angle(boxes) - _aspect_angle(others)) * (4 / math.pi**2)
    alpha = jax.lax.stop_gradient(_ratio(v, 1 - overlap + v))
    return overlap - _center_distance(boxes, others) - alpha * v


def _parts(boxes: Array) -> tuple[Array, Array, Array, Array]:
    boxes = boxes.astype(jnp.promote_types(boxes.dtype, jnp.float32))
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _length(low: Array, high: Array) -> Array:
    # Not maximum(high - low, 0): at 0 that halves the gradient of a box that is just touched.
    return jax.nn.relu(high - low)


def _overlap(boxes: Array, others: Array) -> tuple[Array, Array]:
    """Areas of intersection and union."""
    ax1, ay1, ax2, ay2 = _parts(boxes)
    bx1, by1, bx2, by2 = _parts(others)
    w = _length(jnp.maximum(ax1, bx1), jnp.minimum(ax2, bx2))
    h = _length(jnp.maximum(ay1, by1), jnp.minimum(ay2, by2))
    inter = w * h
    return inter, box_area(boxes) + box_area(others) - inter


def _hull(boxes: Array, others: Array) -> tuple[Array, Array]:
    """Width and height of the smallest box around both."""
    ax1, ay1, ax2, ay2 = _parts(boxes)
    bx1, by1, bx2, by2 = _parts(others)
    w = _length(jnp.minimum(ax1, bx1), jnp.maximum(ax2, bx2))
    h = _length(jnp.minimum(ay1, by1), jnp.maximum(ay2, by2))
    return w, h


def _center_distance(boxes: Array, others: Array) -> Array:
    """Squared distance of the centres over the hull's squared diagonal, in [0, 1]."""
    ax1, ay1, ax2, ay2 = _parts(boxes)
    bx1, by1, bx2, by2 = _parts(others)
    w, h = _hull(boxes, others)
    distance = jnp.square(ax1 + ax2 - bx1 - bx2) + jnp.square(ay1 + ay2 - by1 - by2)
    return _ratio(distance / 4, jnp.square(w) + jnp.square(h))


def _aspect_angle(boxes: Array) -> Array:
    """atan(width / height); a quarter turn where the height is 0, 0 where both are."""
    x1, y1, x2, y2 = _parts(boxes)
    w, h = _length(x1, x2), _length(y1, y2)
    nothing = (w == 0) & (h == 0)
    return jnp.arctan2(jnp.where(nothing, 0.0, w), jnp.where(nothing, 1.0, h))


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole; 0, with zero gradient, where whole is not positive."""
    some = whole > 0
    return jnp.where(some, part / jnp.where(some, whole, 1.0), 0.0)


def _extent(marked: Bool[Array, "*n s"]) -> tuple[Array, Array]:
    """The first marked place and the one after the last; (0, 0) where none is marked."""
    size = marked.shape[-1]
    some = marked.any(axis=-1)
    first = jnp.argmax(marked, axis=-1)
    last = size - jnp.argmax(marked[..., ::-1], axis=-1)
    return first, jnp.where(some, last, 0)
