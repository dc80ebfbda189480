import itertools

import numpy as np
import pytest

from cvjax.ops.anchor_clusters import cluster_anchors, size_iou


def test_two_anchors_are_the_best_of_all_partitions():
    sizes = np.random.default_rng(0).uniform(1, 30, (9, 2))
    best = 0.0
    for side in itertools.product((False, True), repeat=8):
        first = np.asarray((False, *side))
        if first.any():
            centers = np.stack([sizes[first].mean(0), sizes[~first].mean(0)])
            # Lloyd's fixed points: every box is nearest to the centre that it made.
            overlap = size_iou(sizes, centers)
            if ((overlap[:, 0] > overlap[:, 1]) == first).all():
                best = max(best, overlap.max(axis=1).mean())
    anchors, mean = cluster_anchors(sizes, 2, seed=1)
    assert mean >= best - 1e-12 > 0.3
    np.testing.assert_allclose(size_iou(sizes, anchors).max(axis=1).mean(), mean)


def test_overlap_of_sizes_is_that_of_counted_cells():
    sizes, others = np.asarray([[4.0, 2.0], [3.0, 3.0]]), np.asarray([[2.0, 5.0]])
    for (w, h), got in zip(sizes.astype(int), size_iou(sizes, others)[:, 0], strict=True):
        first, second = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
        first[:h, :w], second[:5, :2] = True, True
        np.testing.assert_allclose(got, (first & second).sum() / (first | second).sum())


def test_separate_shapes_are_found_and_the_seed_repeats_them():
    rng = np.random.default_rng(2)
    heights = np.concatenate([rng.uniform(20, 22, 30), rng.uniform(90, 110, 30)])
    pedestrians = np.stack([0.41 * heights, heights], axis=-1)
    cars = np.stack([rng.uniform(150, 160, 30), rng.uniform(60, 64, 30)], axis=-1)
    sizes = np.concatenate([pedestrians, cars])
    anchors, mean = cluster_anchors(sizes, 3, seed=5)
    want = [pedestrians[:30].mean(0), pedestrians[30:].mean(0), cars.mean(0)]
    np.testing.assert_allclose(anchors, want, rtol=1e-12)
    np.testing.assert_allclose(anchors[:2, 0] / anchors[:2, 1], 0.41, rtol=1e-12)
    again, same = cluster_anchors(sizes, 3, seed=5)
    np.testing.assert_array_equal(again, anchors)
    assert same == mean > 0.85


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="must be positive"):
        cluster_anchors(np.asarray([[1.0, 0.0]]), 1, seed=0)
    with pytest.raises(ValueError, match="count=2, restarts=10 and 1 different"):
        cluster_anchors(np.ones((5, 2)), 2, seed=0)
