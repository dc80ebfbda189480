"""What the scene detectors' benchmark says is found of small and large objects, by slow loops."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ is not installed

from benchmarks.scene_detectors import SIZES, recall_by_size
from cvjax.evaluators.detections import Detections, Truths, areas, pairwise_iou
from experiments.scenes_detectors import undisturbed_minutes

SIDE, CLASSES = 100, 3


def scene(seed):
    """60 objects, and detections of most of them: moved, doubled, mislabelled."""
    rng = np.random.default_rng(seed)
    corner, extent = rng.uniform(0, 60, (60, 2)), rng.uniform(4, 40, (60, 2))
    boxes = np.hstack([corner, corner + extent])
    label, image = rng.integers(0, CLASSES, 60), rng.integers(0, 8, 60)
    truths = Truths(image, boxes, label, np.zeros(60, bool), areas(boxes))
    copied = rng.integers(0, 60, 90)
    moved = boxes[copied] + rng.normal(0, 2, (90, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    named = np.where(rng.random(90) < 0.8, label[copied], rng.integers(0, CLASSES, 90))
    return truths, Detections(image[copied], moved, named, rng.permutation(90) / 90)


def found_by_loops(truths, detections):
    """Best first, as many of a class as it has objects; each claims the object nearest to it."""
    hit = [False] * len(truths.label)
    for label in range(CLASSES):
        objects = [i for i in range(len(hit)) if truths.label[i] == label]
        order = sorted(
            (j for j in range(len(detections.label)) if detections.label[j] == label),
            key=lambda j: -detections.score[j],
        )
        for j in order[: len(objects)]:
            here = [i for i in objects if truths.image[i] == detections.image[j]]
            if not here:
                continue
            overlaps = [pairwise_iou(truths.boxes[[i]], detections.boxes[[j]]).item() for i in here]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= 0.5:
                hit[here[best]] = True
    return hit


@pytest.mark.parametrize("seed", range(3))
def test_recall_by_size_counts_what_loops_count(seed):
    truths, detections = scene(seed)
    hit = found_by_loops(truths, detections)
    order = sorted(range(60), key=lambda i: truths.area[i])
    found = recall_by_size(detections, truths, SIDE)
    for k, name in enumerate(SIZES):
        third = order[20 * k : 20 * (k + 1)]
        expected = sum(hit[i] for i in third) / 20
        assert found[f"recall_{name}"] == pytest.approx(expected, abs=1e-4)
    assert 0.2 < sum(hit) / 60 < 0.95
    low, high = found["size_limits"]
    roots = np.sqrt(truths.area) / SIDE
    assert roots[order[19]] <= low <= roots[order[20]]
    assert roots[order[39]] <= high <= roots[order[40]]


def test_undisturbed_minutes_are_those_of_the_fastest_tenth_of_the_lines():
    # 100 lines of 20 steps: 85 at 30 pictures a second, 15 at 100.
    records = [
        {"step": 20 * (i + 1), "train/images_per_second": 100.0 if i % 20 < 3 else 30.0}
        for i in range(100)
    ]
    assert undisturbed_minutes(8)(records) == pytest.approx(2000 * 8 / 100 / 60)
