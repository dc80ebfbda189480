"""Average precision as the PASCAL VOC challenges define it (Everingham et al. 2010, section 4.2).

Paper: https://doi.org/10.1007/s11263-009-0275-4. A detection is right where it overlaps an object
of its class by IoU >= 0.5 that no better scored detection has claimed; the object that it overlaps
most is the only one that it can claim. Difficult objects count neither way. VOC 2007 averages the
precision at eleven recalls; from 2010 on, the area under the whole curve counts.
"""

from typing import NamedTuple

import numpy as np

from cvjax.evaluators.detections import Detections, Truths, best_overlaps


class VocResults(NamedTuple):
    """Per class [K], NaN for a class without objects."""

    ap_2007: np.ndarray  # eleven points
    ap_2010: np.ndarray  # the area under the curve
    recall: np.ndarray  # of all detections, whatever their score


def voc_ap(
    detections: Detections, truths: Truths, *, num_classes: int, iou_threshold: float = 0.5
) -> VocResults:
    """Both average precisions and the recall, of each class."""
    detections = detections.best_first()
    figures = np.full((3, num_classes), np.nan)
    for label in range(num_classes):
        mine, objects = detections.label == label, truths.label == label
        positives = int((objects & ~truths.ignore).sum())
        if not positives:
            continue
        overlap, which = best_overlaps(
            detections.boxes[mine],
            detections.image[mine],
            truths.boxes[objects],
            truths.image[objects],
        )
        right, counts = claims(overlap >= iou_threshold, which, truths.ignore[objects])
        hits = np.cumsum(right[counts])
        precision = hits / np.arange(1, len(hits) + 1)
        figures[:, label] = (
            eleven_point_ap(hits, precision, positives),
            area_ap(hits, precision, positives),
            hits[-1] / positives if len(hits) else 0.0,
        )
    return VocResults(*figures)


def claims(
    close: np.ndarray, which: np.ndarray, ignore: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections, best first, are right; and which count at all.

    `close` [D] says whether a detection overlaps its object `which` [D] enough; `ignore` [G].
    """
    on_ignored = close & np.where(which >= 0, ignore[which] if len(ignore) else False, False)
    claiming = np.flatnonzero(close & ~on_ignored)
    _, first = np.unique(which[claiming], return_index=True)
    right = np.zeros(len(close), bool)
    right[claiming[first]] = True
    return right, ~on_ignored


def eleven_point_ap(hits: np.ndarray, precision: np.ndarray, positives: int) -> float:
    """The mean, over recalls 0, 0.1, ... 1, of the best precision at that recall or more."""
    total = 0.0
    for tenths in range(11):
        # whole numbers: a recall of exactly 0.3 reaches the recall 0.3, however it is rounded
        reached = 10 * hits >= tenths * positives
        total += precision[reached].max(initial=0.0)
    return total / 11


def area_ap(hits: np.ndarray, precision: np.ndarray, positives: int) -> float:
    """The area under the precision-recall curve, precision made monotonic from the right."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    gained = np.diff(hits, prepend=0)
    return float((envelope * gained).sum() / positives)
