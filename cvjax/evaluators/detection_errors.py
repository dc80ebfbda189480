"""What a detector's detections are, sorted by kind of error (Hoiem et al. 2012).

Paper: https://doi.org/10.1007/978-3-642-33712-3_25, as Redmon et al. 2016
(https://arxiv.org/abs/1506.02640, section 4.2) apply it to YOLO and Fast R-CNN: of each class, as
many of the best detections are looked at as the class has objects.

Differs from the papers: a second detection of an object that is already found is a `duplicate`
here, where they count it as a localisation error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvjax.evaluators.detections import Detections, Truths, best_overlaps
from cvjax.evaluators.voc_ap import claims

KINDS = (
    "correct",  # right class, IoU >= 0.5, the first to claim its object
    "duplicate",  # likewise, but the object was claimed by a better scored detection
    "localisation",  # right class, 0.1 <= IoU < 0.5
    "similar",  # IoU >= 0.1 with an object of a similar class
    "other",  # IoU >= 0.1 with an object of another class
    "background",  # IoU < 0.1 with every object
)
_CLOSE, _NEAR = 0.5, 0.1


class ErrorCounts(NamedTuple):
    counts: np.ndarray  # int64 [K, 6], detections of each class by `KINDS`
    missed: np.ndarray  # int64 [K], objects of each class that no detection looked at found


def detection_errors(
    detections: Detections,
    truths: Truths,
    *,
    num_classes: int,
    similar: Sequence[Sequence[int]] = (),
) -> ErrorCounts:
    """Counts by kind. `similar` groups the labels that are easily taken for one another.

    Detections of an ignored region (IoU >= 0.5) are left out.
    """
    group = np.arange(num_classes)
    for number, labels in enumerate(similar):
        group[list(labels)] = num_classes + number
    detections = detections.best_first()
    counts = np.zeros((num_classes, len(KINDS)), np.int64)
    missed = np.zeros(num_classes, np.int64)
    for label in range(num_classes):
        mine, same = detections.label == label, truths.label == label
        boxes, image = detections.boxes[mine], detections.image[mine]
        alike = (group[truths.label] == group[label]) & ~same & ~truths.ignore
        rest = ~same & ~alike & ~truths.ignore
        overlap, which = best_overlaps(boxes, image, truths.boxes[same], truths.image[same])
        right, looked_at = claims(overlap >= _CLOSE, which, truths.ignore[same])
        objects = int((~truths.ignore[same]).sum())
        looked_at &= np.cumsum(looked_at) <= objects
        near = [overlap >= _NEAR] + [
            best_overlaps(boxes, image, truths.boxes[part], truths.image[part])[0] >= _NEAR
            for part in (alike, rest)
        ]
        kind = np.select([right, overlap >= _CLOSE, *near], range(5), default=5)
        counts[label] = np.bincount(kind[looked_at], minlength=len(KINDS))
        missed[label] = objects - counts[label, 0]
    return ErrorCounts(counts, missed)
