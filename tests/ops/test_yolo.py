import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses.yolo import present_squared_error, yolo_v1_loss
from cvjax.ops.yolo import activate_anchors, decode_grid, decode_v1, encode_grid, split_v1

ANCHORS = jnp.asarray([[20.0, 60.0], [60.0, 20.0]])  # upright and lying, in a 90 px image


def encode(boxes, labels, image=(90, 90), grid=(3, 3), num_classes=3, anchors=None, valid=None):
    valid = np.ones(len(boxes), bool) if valid is None else valid
    call = functools.partial(encode_grid, image=image, grid=grid, num_classes=num_classes)
    boxes = jnp.asarray(boxes, jnp.float32)
    return jax.jit(call)(boxes, jnp.asarray(labels), jnp.asarray(valid), anchors=anchors)


def test_three_by_three_grid_of_eight_numbers_as_in_the_course():
    # A car whose centre is 0.4 and 0.3 into the right cell of the middle row, 0.9 cells wide and
    # 0.5 high, and one that is larger than a cell; the last two have no cell.
    boxes = [[58.5, 31.5, 85.5, 46.5], [0.0, 45.0, 60.0, 105.0], [0, 0, 9, 9], [80, 80, 120, 120]]
    target = encode(boxes, [1, 2, 0, 0], valid=[True, True, False, True]).reshape(3, 3, 8)
    want = np.zeros((3, 3, 8))
    want[1, 2] = [1, 0.4, 0.3, 0.9, 0.5, 0, 1, 0]
    want[2, 1] = [1, 0.0, 0.5, 2.0, 2.0, 0, 0, 1]
    np.testing.assert_allclose(target, want, atol=1e-6)


def test_anchors_give_three_by_three_by_sixteen_and_part_objects_of_one_cell():
    # A pedestrian and a car with one centre, as in the course; a second pedestrian comes too late.
    boxes = [[35.0, 15.0, 55.0, 75.0], [15.0, 35.0, 75.0, 55.0], [36.0, 15.0, 54.0, 75.0]]
    target = encode(boxes, [0, 1, 2], anchors=ANCHORS).reshape(3, 3, 16)
    want = np.zeros((3, 3, 16))
    want[1, 1, :8] = [1, 0.5, 0.5, 2 / 3, 2, 1, 0, 0]
    want[1, 1, 8:] = [1, 0.5, 0.5, 2, 2 / 3, 0, 1, 0]
    np.testing.assert_allclose(target, want, atol=1e-6)
    call = functools.partial(encode_grid, image=(90, 90), grid=(19, 19), num_classes=3)
    boxes, none = jnp.zeros((3, 4)), jnp.zeros(3, int)
    many = jax.eval_shape(call, boxes, none, none == 0, anchors=jnp.ones((5, 2)))
    assert many.size == 19 * 19 * 40


def test_decoding_gives_back_the_encoded_boxes_on_an_oblong_grid():
    boxes = np.asarray([[10.0, 5.0, 30.0, 35.0], [50.0, 40.0, 118.0, 58.0]], np.float32)
    target = encode(boxes, [2, 0], image=(60, 120), grid=(2, 4), anchors=ANCHORS)
    found, scores = jax.jit(functools.partial(decode_grid, image=(60, 120)))(target)
    where = np.flatnonzero(scores.max(axis=1) > 0)
    np.testing.assert_allclose(found[where], boxes, rtol=1e-6)
    np.testing.assert_array_equal(scores[where], [[0, 0, 1], [1, 0, 0]])
    assert encode(np.zeros((0, 4)), np.zeros(0, int)).sum() == 0


def test_yolov2_output_of_thirteen_by_thirteen_by_125_follows_the_papers_equations():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(13, 13, 125)).astype(np.float32)
    anchors = rng.uniform(20, 300, (5, 2)).astype(np.float32)
    codes = jnp.asarray(raw).reshape(13, 13, 5, 25)
    rules = {"image": (416, 416), "anchors": jnp.asarray(anchors)}

    @jax.jit
    def decode(codes):
        exclusive = activate_anchors(codes, exclusive=True, **rules)
        separate = activate_anchors(codes, exclusive=False, **rules)
        return *decode_grid(exclusive, image=(416, 416)), separate

    boxes, scores, separate = decode(codes)
    assert boxes.shape == (845, 4)
    for row, column, place in [(0, 0, 0), (3, 12, 4), (12, 5, 2)]:
        p, x, y, w, h, *classes = raw[row, column, 25 * place : 25 * place + 25].astype(float)
        sigmoid = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
        center = 32 * (np.asarray([column, row]) + [sigmoid(x), sigmoid(y)])
        half = anchors[place] * np.exp([w, h]) / 2
        at = (row * 13 + column) * 5 + place
        np.testing.assert_allclose(boxes[at], [*(center - half), *(center + half)], rtol=1e-4)
        shares = np.exp(classes) / np.exp(classes).sum()
        np.testing.assert_allclose(scores[at], sigmoid(p) * shares, rtol=1e-4)
        np.testing.assert_allclose(
            separate[row, column, place, 5:], [sigmoid(c) for c in classes], rtol=1e-4
        )


def test_yolov1_output_of_seven_by_seven_by_thirty():
    output = np.random.default_rng(1).uniform(size=(7, 7, 30)).astype(np.float32)
    decode = jax.jit(functools.partial(decode_v1, num_boxes=2, image=(448, 448)))
    boxes, scores = decode(jnp.asarray(output))
    assert boxes.shape == (98, 4)
    assert scores.shape == (98, 20)
    confidence, x, y, w, h = output[4, 2, 5:10]
    center, half = 64 * np.asarray([2 + x, 4 + y]), 448 * np.asarray([w**2, h**2]) / 2
    at = (4 * 7 + 2) * 2 + 1
    np.testing.assert_allclose(boxes[at], [*(center - half), *(center + half)], rtol=1e-4)
    np.testing.assert_allclose(scores[at], confidence * output[4, 2, 10:], rtol=1e-6)
    with pytest.raises(ValueError, match="6 boxes take 30 of 30 channels"):
        split_v1(jnp.asarray(output), 6)


def test_only_p_c_counts_where_it_is_zero():
    # The course's example: (p_c, b_x, b_y, b_h, b_w, c_1, c_2, c_3).
    prediction = jnp.asarray([[0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.8, 0.1]] * 2)
    target = jnp.asarray([[1.0, 0.4, 0.4, 0.3, 0.4, 0.0, 1.0, 0.0], [0.0] + [np.nan] * 7])
    value, gradient = jax.value_and_grad(lambda p: present_squared_error(p, target).sum())(
        prediction
    )
    first = 0.01 + 0.01 + 0.04 + 0.01 + 0.04 + 0.01
    np.testing.assert_allclose(value, first + 0.81, rtol=1e-5)
    np.testing.assert_allclose(gradient[1], [1.8] + [0.0] * 7, rtol=1e-6)


def slow_yolo_v1_loss(boxes, classes, target):
    """Equation 3 of the paper, cell by cell, with a plain IoU."""
    total = dict.fromkeys(("box", "confidence", "empty", "class"), 0.0)
    rows, columns, num_boxes, _ = boxes.shape

    def overlap(a, b):
        sides = [
            min(a[i] + a[2 + i] / 2, b[i] + b[2 + i] / 2)
            - max(a[i] - a[2 + i] / 2, b[i] - b[2 + i] / 2)
            for i in (0, 1)
        ]
        inter = max(sides[0], 0) * max(sides[1], 0)
        return inter / (a[2] * a[3] + b[2] * b[3] - inter)

    for row in range(rows):
        for column in range(columns):
            p, x, y, w, h, *kind = target[row, column, 0]
            found = boxes[row, column]
            if p == 0:
                total["empty"] += 0.5 * sum(found[:, 0] ** 2)
                continue
            ious = [
                overlap((b[1], b[2], columns * b[3] ** 2, rows * b[4] ** 2), (x, y, w, h))
                for b in found
            ]
            best = int(np.argmax(ious))
            wanted = np.asarray([x, y, np.sqrt(w / columns), np.sqrt(h / rows)])
            total["box"] += 5 * sum((found[best, 1:] - wanted) ** 2)
            total["confidence"] += (found[best, 0] - ious[best]) ** 2
            total["empty"] += 0.5 * sum(found[i, 0] ** 2 for i in range(num_boxes) if i != best)
            total["class"] += sum((classes[row, column] - kind) ** 2)
    return total


def test_yolov1_loss_is_equation_three_and_has_finite_gradients():
    rng = np.random.default_rng(2)
    output = jnp.asarray(rng.uniform(0.1, 0.9, (3, 4, 13)), jnp.float32)
    boxes = [[5.0, 5.0, 60.0, 70.0], [70.0, 40.0, 119.0, 80.0]]
    target = encode(boxes, [0, 2], image=(90, 120), grid=(3, 4))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(output):
        parts = yolo_v1_loss(*split_v1(output, 2), target)
        return sum(parts.values()), parts

    (_, parts), gradient = loss(output)
    want = slow_yolo_v1_loss(*map(np.asarray, split_v1(output, 2)), np.asarray(target))
    for name, value in want.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-5, err_msg=name)
    assert np.isfinite(gradient).all()
    # Classes of a cell without an object learn nothing, the confidences do.
    assert (np.asarray(gradient)[0, 3, 10:] == 0).all()
    assert gradient[0, 3, 0] != 0
