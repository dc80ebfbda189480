"""Losses on YOLO's grid, as sums over an image; codes as in `cvjax.ops.yolo`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvjax.ops.boxes import cxcywh_to_xyxy, iou


def present_squared_error(
    prediction: Float[Array, "*b d"], target: Float[Array, "*b d"]
) -> Float[Array, "*b"]:
    """The squared error of (p_c, ...): of all numbers if the target's p_c is 1, else of p_c alone.

    What stands in the other numbers where p_c is 0 ("don't care") has neither value nor gradient.
    """
    counts = (target[..., :1] > 0) | (jnp.arange(target.shape[-1]) == 0).reshape(
        (1,) * (target.ndim - 1) + (-1,)
    )
    error = jnp.where(counts, prediction - target, 0.0)
    return jnp.square(error).sum(axis=-1)


def yolo_v1_loss(
    boxes: Float[Array, "rows columns b 5"],
    classes: Float[Array, "rows columns k"],
    target: Float[Array, "rows columns 1 d"],
    *,
    box_weight: float = 5.0,
    empty_weight: float = 0.5,
) -> dict[str, Float[Array, ""]]:
    """YOLOv1's sum of squared errors in its parts: box, confidence, empty and class.

    `boxes` and `classes` are those of `split_v1`, `target` is `encode_grid`'s without anchors. In
    a cell with an object the box of the highest IoU with it (the first of equals) is responsible:
    it learns the object's place and, as its confidence, that IoU, a constant to the gradient. All
    other boxes learn confidence 0, weighted by `empty_weight`. Sizes are compared as square roots,
    which is what the network predicts.
    Redmon et al. 2016, https://arxiv.org/abs/1506.02640, eq. 3.
    """
    rows, columns, num_boxes = boxes.shape[:3]
    present = target[..., 0]  # [R, C, 1]
    per_cell = jnp.asarray([columns, rows], target.dtype).reshape(1, 1, 1, 2)
    share = target[..., 3:5] / per_cell

    def corners(center, size):  # in cells, from the cell's own corner
        return cxcywh_to_xyxy(jnp.concatenate([center, size * per_cell], axis=-1))

    overlap = iou(
        corners(boxes[..., 1:3], jnp.square(boxes[..., 3:])), corners(target[..., 1:3], share)
    )
    overlap = jax.lax.stop_gradient(overlap)  # [R, C, B]
    best = jax.nn.one_hot(jnp.argmax(overlap, axis=-1), num_boxes, dtype=boxes.dtype)
    responsible = best * present
    wanted = jnp.concatenate([target[..., 1:3], jnp.sqrt(share)], axis=-1)
    place = jnp.square(boxes[..., 1:] - wanted).sum(axis=-1)
    confidence = jnp.square(boxes[..., 0] - overlap)
    empty = jnp.square(boxes[..., 0])
    kind = jnp.square(classes - target[:, :, 0, 5:]).sum(axis=-1)
    return {
        "box": box_weight * (responsible * place).sum(),
        "confidence": (responsible * confidence).sum(),
        "empty": empty_weight * ((1 - responsible) * empty).sum(),
        "class": (present[..., 0] * kind).sum(),
    }
