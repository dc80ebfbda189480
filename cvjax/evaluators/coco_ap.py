"""COCO's twelve figures of bounding boxes, by pycocotools, the reference implementation."""

import contextlib
import io
from typing import Any, NamedTuple

import numpy as np

from cvjax.evaluators.detections import Detections, Truths, areas

COCO_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
              "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")  # fmt: skip


class CocoResults(NamedTuple):
    figures: dict[str, float]  # by `COCO_NAMES`; -1 where the split has no such object
    per_class: np.ndarray  # [K], AP over all IoU thresholds; NaN for a class without objects


def coco_ap(
    detections: Detections, truths: Truths, *, num_images: int, num_classes: int
) -> CocoResults:
    """What `pycocotools.cocoeval.COCOeval(..., "bbox")` finds, at most 100 detections an image."""
    from pycocotools.cocoeval import COCOeval

    objects = [
        {"iscrowd": int(ignore), "area": float(area)}
        for ignore, area in zip(truths.ignore, truths.area)
    ]
    found = [
        {"score": float(score), "area": float(area), "iscrowd": 0}
        for score, area in zip(detections.score, areas(detections.boxes))
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints tables
        evaluation = COCOeval(
            _coco(truths, objects, num_images, num_classes),
            _coco(detections, found, num_images, num_classes),
            "bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][..., 0, -1]  # [T, R, K] of all sizes, 100 an image
    present = precision > -1
    count = present.sum(axis=(0, 1))
    total = np.where(present, precision, 0.0).sum(axis=(0, 1))
    per_class = np.divide(total, count, out=np.full(num_classes, np.nan), where=count > 0)
    return CocoResults(dict(zip(COCO_NAMES, map(float, evaluation.stats))), per_class)


def _coco(
    things: Truths | Detections, fields: list[dict[str, Any]], num_images: int, num_classes: int
) -> Any:
    """pycocotools' index of these boxes. Ids count from 1: it takes an id of 0 for no match."""
    from pycocotools.coco import COCO

    corner, extent = things.boxes[:, :2], things.boxes[:, 2:] - things.boxes[:, :2]
    index = COCO()
    index.dataset = {
        "images": [{"id": i + 1} for i in range(num_images)],
        "categories": [{"id": k + 1} for k in range(num_classes)],
        "annotations": [
            {"id": i + 1, "image_id": int(image) + 1, "category_id": int(label) + 1, "bbox": box}
            | fields[i]
            for i, (image, label, box) in enumerate(
                zip(things.image, things.label, np.hstack([corner, extent]).tolist())
            )
        ],
    }
    index.createIndex()
    return index
