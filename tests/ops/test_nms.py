import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.nms import nms

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torchvision_nms.npz")
CASES = json.loads(str(GOLDEN["cases"]))
SIZE = 304  # every golden case padded to one shape: one program


@jax.jit
def padded_nms(boxes, scores, labels, iou_threshold):
    # 37 divides nothing here, so tiles are padded and chains cross them.
    return nms(
        boxes, scores, labels, iou_threshold=iou_threshold, max_outputs=SIZE, tile=37, chunk=23
    )


def test_kept_boxes_agree_with_torchvision():
    for case in CASES:
        boxes, scores, keep = (GOLDEN[f"{case['id']}/{k}"] for k in ("boxes", "scores", "keep"))
        name = f"{case['id']}/idxs"
        labels = GOLDEN[name] if name in GOLDEN else np.zeros(len(boxes))
        rest = SIZE - len(boxes)
        index, valid = padded_nms(
            np.pad(boxes.astype(np.float32), ((0, rest), (0, 0))),
            np.pad(scores.astype(np.float32), (0, rest), constant_values=-np.inf),
            np.pad(labels.astype(np.int32), (0, rest)),
            np.float32(case["args"]["iou_threshold"]),
        )
        np.testing.assert_array_equal(np.asarray(index)[valid], keep, err_msg=case["id"])


def greedy_loop(boxes, scores, threshold, labels=None):
    """One box at a time, one pair at a time."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if not np.isfinite(scores[i]):
            continue
        for j in kept:
            if labels is not None and labels[i] != labels[j]:
                continue
            a, b = boxes[i], boxes[j]
            w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
            h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
            if w * h > threshold * union:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize(
    ("max_outputs", "sizes", "labelled"),
    [
        (12, {"tile": 16}, False),
        (12, {"tile": 16, "chunk": 5}, True),  # by score: kept boxes in three pieces
        (90, {"tile": 16, "chunk": 7}, True),  # label by label
        (95, {"tile": 128, "chunk": 4}, True),  # one tile; more outputs than boxes
        (95, {}, True),  # as the backend likes it: label by label here
        (20, {}, True),  # and by score
    ],
)
def test_batched_with_ties_is_the_start_of_a_greedy_loop(max_outputs, sizes, labelled):
    rng = np.random.default_rng(0)
    # Integer corners and a threshold no ratio rounds to; ten distinct scores: ties everywhere.
    corners = rng.integers(0, 24, size=(3, 90, 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 12, size=(3, 90, 2))], -1)
    scores = rng.integers(0, 10, size=(3, 90)).astype(np.float32)
    scores[1, ::7] = -np.inf
    scores[2, 5:] = np.nan  # nearly empty: fewer boxes than outputs
    # Label 0 alone is larger than a tile; a tile holds several of the others.
    labels = np.maximum(rng.integers(-30, 12, size=(3, 90)), 0).astype(np.int32)
    labels[1, 7] = 10**6  # of padding: anything
    run = functools.partial(nms, iou_threshold=0.2503, max_outputs=max_outputs, **sizes)
    fields = (boxes.astype(np.float32), scores, *([labels] if labelled else []))
    index, valid = (np.asarray(x) for x in jax.jit(jax.vmap(run))(*fields))
    for i in range(3):
        groups = labels[i] if labelled else None
        want = greedy_loop(boxes[i], scores[i], 0.2503, groups)[:max_outputs]
        np.testing.assert_array_equal(index[i][valid[i]], want)
        assert not index[i][~valid[i]].any()
    assert valid[0].sum() >= 12


def test_many_boxes_are_visited_label_by_label_as_by_a_greedy_loop():
    rng = np.random.default_rng(0)
    corner, side = rng.integers(0, 80, size=(1200, 2)), rng.integers(4, 12, size=(1200, 2))
    boxes = np.concatenate([corner, corner + side], -1).astype(np.float32)
    scores = rng.integers(0, 300, size=1200).astype(np.float32)
    labels = np.maximum(rng.integers(-10, 20, size=1200), 0)  # 0 is a third of them
    index, valid = nms(
        *map(jnp.asarray, (boxes, scores, labels)), iou_threshold=0.2503, max_outputs=1200
    )
    want = greedy_loop(boxes, scores, 0.2503, labels)
    assert 600 < len(want) < 1000
    np.testing.assert_array_equal(np.asarray(index)[valid], want)


def test_labels_of_any_size_and_type_are_visited_label_by_label():
    rng = np.random.default_rng(1)
    corner, side = rng.integers(0, 40, size=(300, 2)), rng.integers(4, 12, size=(300, 2))
    boxes = np.concatenate([corner, corner + side], -1).astype(np.float32)
    scores = rng.integers(0, 100, size=300).astype(np.float32)
    small = rng.integers(0, 60, size=300)  # five of a label: most lie in a tile, some cross two
    scores[::5] = -np.inf
    run = functools.partial(nms, iou_threshold=0.2503, max_outputs=300, tile=16, chunk=8)
    want = greedy_loop(boxes, scores, 0.2503, small)
    assert len(want) > 100
    # Some of a batch fit into 32 bits beside a place among 300, which takes 9, and some do not.
    batch = np.stack([small, small - 30, small * (2**31 // 60), small + 2**23 - 70])
    batch[3, ::5] = 2**23 - 1  # padding may have any label
    index, valid = jax.jit(jax.vmap(run, in_axes=(None, None, 0)))(
        boxes, scores, batch.astype(np.int32)
    )
    for i in range(len(batch)):
        np.testing.assert_array_equal(np.asarray(index[i])[valid[i]], want)
    for labels in (small.astype(np.int16), (small - 30).astype(np.int8)):
        index, valid = jax.jit(run)(boxes, scores, labels)
        np.testing.assert_array_equal(np.asarray(index)[valid], want)


def test_course_example_keeps_the_best_of_three():
    # Three boxes around one car: 0.9 stays, 0.7 and 0.6 overlap it and go.
    boxes = jnp.asarray([[1.0, 1.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 10.0, 10.0]])
    scores = jnp.asarray([0.6, 0.9, 0.7])
    index, valid = nms(boxes, scores, iou_threshold=0.5, max_outputs=3)
    assert (index.tolist(), valid.tolist()) == ([1, 0, 0], [True, False, False])


def test_one_and_two_boxes_with_labels_of_any_type():
    boxes = jnp.asarray([[0.0, 0.0, 1.0, 1.0]] * 2)
    run = jax.jit(functools.partial(nms, iou_threshold=0.5, max_outputs=2))
    for dtype in (jnp.int8, jnp.int32):
        for labels, kept in (([0], [0]), ([-5], [0]), ([3, 3], [1]), ([3, 0], [1, 0])):
            labels = jnp.asarray(labels, dtype)
            fields = boxes[: len(labels)], jnp.arange(1.0, 1 + len(labels)), labels
            index, valid = run(*fields)
            assert index[: valid.sum()].tolist() == kept


def test_no_boxes_and_bad_sizes():
    index, valid = nms(jnp.zeros((0, 4)), jnp.zeros(0), iou_threshold=0.5, max_outputs=2)
    assert (index.tolist(), valid.tolist()) == ([0, 0], [False, False])
    with pytest.raises(ValueError, match="max_outputs=0"):
        nms(jnp.zeros((1, 4)), jnp.zeros(1), iou_threshold=0.5, max_outputs=0)
