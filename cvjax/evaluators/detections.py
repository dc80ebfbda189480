"""Detections and true objects of a whole split as flat arrays, and the overlaps between them.

NumPy, on the host: average precision sorts and matches all detections of a split at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Truths:
    """The true objects of a split, one a row. Boxes are xyxy, half-open.

    Attributes:
        image: int64 [G], which image of the split it is in.
        boxes: float64 [G, 4].
        label: int64 [G].
        ignore: bool [G]; detections of an ignored region (COCO's crowds, VOC's difficult objects)
            count neither right nor wrong.
        area: float64 [G], what COCO's size classes go by.
    """

    image: np.ndarray
    boxes: np.ndarray
    label: np.ndarray
    ignore: np.ndarray
    area: np.ndarray


@dataclass(frozen=True)
class Detections:
    """What a detector found in a split: `image` [D], `boxes` [D, 4], `label` [D], `score` [D]."""

    image: np.ndarray
    boxes: np.ndarray
    label: np.ndarray
    score: np.ndarray

    def best_first(self) -> "Detections":
        """Sorted by falling score; equal scores keep their order."""
        order = np.argsort(-self.score, kind="stable")
        return Detections(
            self.image[order], self.boxes[order], self.label[order], self.score[order]
        )


def flat_truths(rows: Mapping[str, np.ndarray]) -> Truths:
    """Padded rows `boxes` [B, N, 4], `box_label`, `box_valid` as flat arrays.

    `box_ignore` [B, N] marks regions to ignore, valid or not; `box_area` [B, N] stands for the
    area of the boxes; `view_matrix` [B, 3, 3] is undone.
    """
    valid = np.asarray(rows["box_valid"], bool)
    ignore = np.asarray(rows.get("box_ignore", np.zeros_like(valid)), bool)
    image, slot = np.nonzero(valid | ignore)
    boxes = _before_the_view(np.asarray(rows["boxes"], np.float64)[image, slot], image, rows)
    if "box_area" in rows:
        area = np.asarray(rows["box_area"], np.float64)[image, slot]
    else:
        area = areas(boxes)
    label = np.asarray(rows["box_label"], np.int64)[image, slot]
    return Truths(image, boxes, label, ignore[image, slot], area)


def flat_detections(rows: Mapping[str, np.ndarray]) -> Detections:
    """Padded rows `detected_boxes` [B, D, 4], `..._label`, `..._score`, `..._valid`, flat.

    Raises:
        ValueError: where a box or a score that counts is no finite number.
    """
    image, slot = np.nonzero(np.asarray(rows["detected_valid"], bool))
    boxes = np.asarray(rows["detected_boxes"], np.float64)[image, slot]
    score = np.asarray(rows["detected_score"], np.float64)[image, slot]
    bad = ~(np.isfinite(boxes).all(axis=1) & np.isfinite(score))
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(bad)} detections have boxes or scores that are not finite, the "
            f"first in image {image[bad][0]}: {boxes[bad][0]}, score {score[bad][0]}. "
            "The model has diverged, or padding is marked as detected_valid."
        )
    label = np.asarray(rows["detected_label"], np.int64)[image, slot]
    return Detections(image, _before_the_view(boxes, image, rows), label, score)


def areas(boxes: np.ndarray) -> np.ndarray:
    """float [N] of boxes [N, 4]; 0 for empty and inverted ones."""
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)


def pairwise_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float [N, M], intersection over union; 0 where both are empty."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=-1)
    union = areas(boxes)[:, None] + areas(others)[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def best_overlaps(
    boxes: np.ndarray, image: np.ndarray, others: np.ndarray, other_image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each box the greatest IoU with `others` in the same image, and which (-1: none there).

    Of equal overlaps the first counts.
    """
    overlap, which = np.zeros(len(boxes)), np.full(len(boxes), -1)
    by_image = np.argsort(other_image, kind="stable")
    starts = np.searchsorted(other_image[by_image], np.arange(image.max(initial=-1) + 2))
    order = np.argsort(image, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(image[order])) + 1):
        if not len(rows):
            continue
        here = by_image[starts[image[rows[0]]] : starts[image[rows[0]] + 1]]
        if len(here):
            iou = pairwise_iou(boxes[rows], others[here])
            overlap[rows], which[rows] = iou.max(axis=1), here[iou.argmax(axis=1)]
    return overlap, which


def _before_the_view(
    boxes: np.ndarray, image: np.ndarray, rows: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Boxes in pixels of the original pictures, where a view has scaled them."""
    if "view_matrix" not in rows:
        return boxes
    back = np.linalg.inv(np.asarray(rows["view_matrix"], np.float64))[image]  # [N, 3, 3]
    corners = boxes.reshape(-1, 2, 2)
    moved = np.einsum("nij,nkj->nki", back[:, :2, :2], corners) + back[:, None, :2, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
