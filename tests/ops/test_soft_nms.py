import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.soft_nms import soft_nms


def slow_soft_nms(boxes, scores, labels, decay, max_outputs, threshold, sigma, min_score):
    """Algorithm 1 of the paper on lists."""
    left = {i: float(s) for i, s in enumerate(scores) if s >= min_score}
    chosen = []
    while left and len(chosen) < max_outputs:
        top = max(left, key=lambda i: (left[i], -i))
        chosen.append((top, left.pop(top)))
        for i in list(left):
            if labels[i] != labels[top]:
                continue
            a, b = boxes[top], boxes[i]
            inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(
                min(a[3], b[3]) - max(a[1], b[1]), 0
            )
            areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
            overlap = inter / (areas - inter)
            if decay == "gaussian":
                left[i] *= np.exp(-(overlap**2) / sigma)
            elif overlap > threshold:
                left[i] *= 1 - overlap
            if left[i] < min_score:
                del left[i]
    return chosen


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
def test_soft_nms_agrees_with_the_papers_loop(decay):
    call = functools.partial(
        soft_nms, decay=decay, max_outputs=25, iou_threshold=0.3, sigma=0.4, min_score=0.05
    )
    call = jax.jit(call)
    counts = []
    for seed, classes in ((0, 1), (1, 3), (2, 30)):
        rng = np.random.default_rng(seed)
        corner = rng.uniform(0, 20, (30, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 25, (30, 2))], -1)
        scores, labels = rng.uniform(size=30), rng.integers(0, classes, 30)
        scores[3], scores[7:9] = np.nan, 0.7
        want = slow_soft_nms(boxes, scores, labels, decay, 25, 0.3, 0.4, 0.05)
        arrays = (jnp.asarray(x, jnp.float32) for x in (boxes, scores))
        index, got, valid = call(*arrays, jnp.asarray(labels))
        counts.append(len(want))
        np.testing.assert_array_equal(valid, np.arange(25) < len(want))
        np.testing.assert_array_equal(index[: len(want)], [i for i, _ in want])
        np.testing.assert_allclose(got[: len(want)], [s for _, s in want], rtol=1e-4)
        assert not np.any(index[len(want) :]) and not np.any(got[len(want) :])  # noqa: PT018
    assert counts[0] < 25  # some outputs stay empty, else the mask is not tried


def test_wrong_options_are_named_and_no_boxes_give_no_outputs():
    none = jnp.zeros((0, 4)), jnp.zeros(0)
    _, _, valid = soft_nms(*none, decay="linear", max_outputs=2)
    np.testing.assert_array_equal(valid, [False, False])
    with pytest.raises(ValueError, match="sigma=0"):
        soft_nms(*none, decay="gaussian", max_outputs=2, sigma=0.0)
