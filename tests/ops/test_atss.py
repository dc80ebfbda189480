"""Adaptive training sample selection against a slow loop over objects, levels and anchors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.matching import BACKGROUND, match_atss


def iou(a, b):
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in range(2))
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def slow_atss(boxes, valid, anchors, level_sizes, candidates):
    """Algorithm 1 of the paper, line by line."""
    owner, value = [BACKGROUND] * len(anchors), [-1.0] * len(anchors)
    for g, box in enumerate(boxes):
        if not valid[g]:
            continue
        chosen, start = [], 0
        for size in level_sizes:
            level = range(start, start + size)
            center = lambda b: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)  # noqa: E731
            far = {a: sum((p - q) ** 2 for p, q in zip(center(anchors[a]), center(box)))
                   for a in level}  # fmt: skip
            chosen += sorted(level, key=lambda a: (far[a], a))[:candidates]
            start += size
        overlap = [iou(anchors[a], box) for a in chosen]
        threshold = np.mean(overlap) + np.std(overlap, ddof=1)
        for a, o in zip(chosen, overlap):
            x, y = center(anchors[a])
            inside = box[0] < x < box[2] and box[1] < y < box[3]
            if o >= threshold and inside and o > value[a]:
                owner[a], value[a] = g, o
    return owner


def grid(side, stride, sizes):
    centers = [(x + stride / 2, y + stride / 2) for y in range(0, side, stride)
               for x in range(0, side, stride)]  # fmt: skip
    return [(x - s / 2, y - s / 2, x + s / 2, y + s / 2) for x, y in centers for s in sizes]


@pytest.mark.parametrize(("candidates", "sizes"), [(3, (1, 1)), (9, (1, 1.5)), (100, (1, 1))])
def test_matches_agree_with_the_papers_algorithm(candidates, sizes):
    levels = [grid(32, stride, [3 * stride * s for s in sizes]) for stride in (4, 8, 16)]
    anchors, level_sizes = np.concatenate(levels).astype(np.float32), [len(x) for x in levels]
    rng = np.random.default_rng(candidates)
    corner = rng.integers(0, 24, (4, 12, 2))
    boxes = np.concatenate([corner, corner + rng.integers(3, 20, (4, 12, 2))], -1)
    boxes = boxes.astype(np.float32)
    boxes[3, 1] = boxes[3, 0]  # two objects in one place: the first has it
    valid = rng.uniform(size=(4, 12)) < 0.8
    valid[3, :2] = True

    def run(boxes, valid):
        return match_atss(boxes, valid, jnp.asarray(anchors), level_sizes, candidates=candidates)

    found = np.asarray(jax.jit(jax.vmap(run))(boxes, valid))
    for i in range(4):
        want = slow_atss(boxes[i].tolist(), valid[i], anchors.tolist(), level_sizes, candidates)
        np.testing.assert_array_equal(found[i], want)
    assert (found >= 0).any()
    assert (found[3] != 1).all()


def test_padding_and_no_anchors_match_nothing_and_bad_sizes_are_told():
    boxes, anchors, none = jnp.zeros((2, 4)), jnp.ones((3, 4)), jnp.zeros(2, bool)
    run = jax.jit(lambda *x: match_atss(*x, [3], candidates=9))
    assert run(boxes, none, anchors).tolist() == [BACKGROUND] * 3
    assert match_atss(boxes[:0], none[:0], anchors, [3], candidates=9).tolist() == [BACKGROUND] * 3
    with pytest.raises(ValueError, match="sum to 2, but there are 3 anchors"):
        match_atss(boxes, none, anchors, [2], candidates=9)
    with pytest.raises(ValueError, match="candidates is 0"):
        match_atss(boxes, none, anchors, [3], candidates=0)
