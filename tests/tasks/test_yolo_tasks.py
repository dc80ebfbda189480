"""YOLO's tasks: their losses against loops, their answers on cases worked by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.tasks.yolo import Yolo
from cvjax.tasks.yolo_v1 import YoloV1

ANCHORS = (((6.0, 8.0), (12.0, 6.0)), ((20.0, 16.0),))
GRIDS = ((2, 3), (1, 2))
HEIGHT, WIDTH = 20, 30


class Fixed(nn.Module):
    """Two grids that say what they are told, of two classes."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, image, *, train):
        def grid(i):
            shape = (len(image), *GRIDS[i], len(ANCHORS[i]), 5 + self.num_classes)
            return self.param(f"grid{i}", nn.initializers.zeros, shape)

        anchors = tuple(jnp.asarray(level, jnp.float32) for level in ANCHORS)
        return {"grids": (grid(0), grid(1)), "anchors": anchors}, {}


def iou(a, b):
    side = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in range(2)]
    inter = side[0] * side[1]
    return inter / sum([(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)], -inter)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def entropy(x, target):
    """Of sigmoids, less its least value; the target's own."""
    least = sum(-t * np.log(t) if t > 0 else 0 for t in (target, 1 - target))
    return -target * np.log(sigmoid(x)) - (1 - target) * np.log(sigmoid(-x)) - least


def slow_losses(grids, objects, labels, *, exclusive, rescore, ignore_iou):
    """(box, object, class) of an image, anchor by anchor."""
    owners = {}
    for box, label in zip(objects, labels):
        w, h = box[2] - box[0], box[3] - box[1]
        overlap = {
            (i, a): iou([0, 0, w, h], [0, 0, *size])
            for i, level in enumerate(ANCHORS)
            for a, size in enumerate(level)
        }
        i, a = max(overlap, key=overlap.get)
        rows, columns = GRIDS[i]
        x, y = (box[0] + box[2]) / 2 * columns / WIDTH, (box[1] + box[3]) / 2 * rows / HEIGHT
        owners.setdefault((i, int(y), int(x), a), (box, label, x % 1, y % 1))
    found = np.zeros(3)
    for i, (rows, columns) in enumerate(GRIDS):
        for r, c, a in np.ndindex(rows, columns, len(ANCHORS[i])):
            raw, (aw, ah) = grids[i][r, c, a], ANCHORS[i][a]
            cx, cy = (c + sigmoid(raw[1])) * WIDTH / columns, (r + sigmoid(raw[2])) * HEIGHT / rows
            w, h = aw * np.exp(raw[3]), ah * np.exp(raw[4])
            mine = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            if (i, r, c, a) not in owners:
                if max((iou(mine, box) for box in objects), default=0) <= ignore_iou:
                    found[1] += entropy(raw[0], 0)
                continue
            box, label, x, y = owners[i, r, c, a]
            found[1] += entropy(raw[0], iou(mine, box) if rescore else 1)
            w, h = box[2] - box[0], box[3] - box[1]
            place = entropy(raw[1], x) + entropy(raw[2], y)
            place += ((raw[3] - np.log(w / aw)) ** 2 + (raw[4] - np.log(h / ah)) ** 2) / 2
            found[0] += (2 - w * h / WIDTH / HEIGHT) * place
            target = np.eye(2)[label]
            if exclusive:
                found[2] -= raw[5 + label] - np.log(np.exp(raw[5:]).sum())
            else:
                found[2] += sum(map(entropy, raw[5:], target))
    return found


def batch():
    """Two objects of one cell and anchor, one of the coarse grid, padding, one without area."""
    boxes = np.zeros((2, 4, 4), np.float32)
    boxes[0] = [[2, 1, 8, 9], [3, 2, 8, 9], [1, 2, 23, 19], [15, 11, 27, 17]]
    boxes[1] = [[16, 12, 27, 18], [4, 4, 4, 9], [0, 0, 9, 9], [0, 0, 0, 0]]
    return {
        "image": jnp.zeros((2, HEIGHT, WIDTH, 3)),
        "boxes": jnp.asarray(boxes),
        "box_label": jnp.array([[0, 1, 1, 0], [1, 0, 0, 0]]),
        "box_valid": jnp.array([[True, True, True, False], [True, True, False, False]]),
    }


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"grid{i}": (0.5 * rng.normal(size=(2, *GRIDS[i], len(ANCHORS[i]), 7))).astype(np.float32)
        for i in range(2)
    }


@pytest.mark.parametrize(("exclusive", "rescore"), [(False, False), (True, True)])
def test_loss_equals_a_loop_over_anchors_and_its_gradient_is_finite(exclusive, rescore):
    params, data = drawn(), batch()
    params["grid0"][1, 0, 0, 0, 3] = 200.0  # a size that would overflow
    options = {"exclusive": exclusive, "rescore": rescore, "ignore_iou": 0.3}
    task = Yolo(Fixed(), **options)
    objects = [[[2, 1, 8, 9], [3, 2, 8, 9], [1, 2, 23, 19]], [[16, 12, 27, 18]]]
    labels = [[0, 1, 1], [1]]

    @jax.jit
    def loss(params, valid):
        return jax.value_and_grad(task.loss, has_aux=True)(
            {"params": params}, {**data, "valid": valid}
        )

    want = np.array(
        [
            slow_losses([np.minimum(params[f"grid{g}"][i], 4) for g in range(2)],
                        objects[i], labels[i], **options)
            for i in range(2)
        ]
    )  # fmt: skip
    (found, info), gradient = loss(params, jnp.array([True, True]))
    names = ("box_loss", "object_loss", "class_loss")
    got = [info["metrics"][name] for name in names]
    np.testing.assert_allclose(got, want.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found, want.mean(axis=0).sum(), rtol=1e-4)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
    (found, _), gradient = loss(params, jnp.array([True, False]))
    np.testing.assert_allclose(found, want[0].sum(), rtol=1e-4)
    assert all(bool(np.any(x[0])) and not np.any(x[1]) for x in jax.tree.leaves(gradient))


def test_ignored_anchors_are_those_that_overlap_an_object_they_do_not_own():
    params = {k: np.zeros_like(x) for k, x in drawn().items()}
    data = batch()

    @jax.jit
    def at_both_limits(params):
        outputs, _ = Fixed().apply({"params": params}, data["image"], train=True)
        return [Yolo(Fixed(), ignore_iou=limit).image_losses(outputs, data) for limit in (0.0, 1.0)]

    at_zero, at_one = (x["object_loss"].mean() for x in at_both_limits(params))
    # 14 anchors an image; two and one own an object; with a limit of 1 none is ignored.
    np.testing.assert_allclose(at_one, 14 * np.log(2), rtol=1e-5)
    assert at_zero < 10 * np.log(2)


def test_predict_scores_by_p_c_times_class_and_suppresses():
    params = {k: np.full_like(x, -20.0) for k, x in drawn().items()}
    params["grid0"][0, 0, 1, 0] = [9, 0, 0, 0, 0, 9, -9]  # [12, 1, 18, 9], class 0
    params["grid0"][0, 0, 1, 1] = [1, 0, 0, np.log(0.5), np.log(8 / 6), 9, 0.0]  # the same place
    params["grid1"][0, 0, 1, 0] = [0, 0, 0, np.log(2), 0, -9, 9]  # cut on the right
    found = jax.jit(Yolo(Fixed(), max_detections=4).predict)({"params": params}, batch())
    assert found["detected_valid"].tolist() == [[True, True, True, False], [False] * 4]
    np.testing.assert_allclose(found["detected_score"][0][:3], [1, 0.5, sigmoid(1) / 2], atol=1e-3)
    assert found["detected_label"][0].tolist() == [0, 1, 1, 0]
    want = [[12, 1, 18, 9], [2.5, 2, 30, 18], [12, 1, 18, 9]]
    np.testing.assert_allclose(found["detected_boxes"][0][:3], want, atol=1e-4)


class FixedV1(nn.Module):
    """A 2x2 grid of two boxes and two classes."""

    num_classes: int = 2
    num_boxes: int = 2

    @nn.compact
    def __call__(self, image, *, train):
        return {"grid": self.param("grid", nn.initializers.zeros, (2, 2, 2, 12))}, {}


def test_yolov1_learns_what_it_then_predicts():
    data = batch()
    # The first object is alone in its cell.
    data["box_valid"] = jnp.array([[True, False, True, False], [True, True, False, False]])
    cell_height, cell_width = HEIGHT / 2, WIDTH / 2
    grid = np.zeros((2, 2, 2, 12), np.float32)
    for image, box, label in (
        (0, [2, 1, 8, 9], 0),
        (0, [1, 2, 23, 19], 1),
        (1, [16, 12, 27, 18], 1),
    ):
        x, y = (box[0] + box[2]) / 2 / cell_width, (box[1] + box[3]) / 2 / cell_height
        root = np.sqrt([(box[2] - box[0]) / WIDTH, (box[3] - box[1]) / HEIGHT])
        grid[image, int(y), int(x), :5] = [1, x % 1, y % 1, *root]
        grid[image, int(y), int(x), 10 + label] = 1
    wrong = grid.copy()
    wrong[0, 1, 1, 5] = 0.6  # sure of an empty box
    wrong[1, 1, 1, 11] -= 0.5  # unsure of the class in a full cell
    task = YoloV1(FixedV1(), max_detections=3)

    @jax.jit
    def run(grid):
        variables = {"params": {"grid": grid}}
        return task.loss(variables, data), task.predict(variables, data)

    (loss, info), found = jax.device_get(run(grid))
    np.testing.assert_allclose(loss, 0, atol=1e-5)
    assert found["detected_valid"].sum(axis=1).tolist() == [2, 1]
    np.testing.assert_allclose(found["detected_boxes"][1, 0], [16, 12, 27, 18], atol=1e-4)
    assert found["detected_label"][1, 0] == 1
    (loss, info), _ = run(wrong)
    # By eq. 3, the mean of two images.
    np.testing.assert_allclose(info["metrics"]["empty_loss"], 0.5 * 0.36 / 2, rtol=1e-5)
    np.testing.assert_allclose(info["metrics"]["class_loss"], 0.25 / 2, rtol=1e-5)
    np.testing.assert_allclose(loss, (0.18 + 0.25) / 2, rtol=1e-5)


def test_wrong_options_and_data_without_boxes_are_told():
    with pytest.raises(ValueError, match=r"task.box_weight(.|\n)*task.nms_iou(.|\n)*candidates"):
        Yolo(Fixed(), nms_iou=2.0, box_weight=-1.0, candidates=0)
    with pytest.raises(ValueError, match=r"task.min_score(.|\n)*task.max_detections"):
        YoloV1(FixedV1(), min_score=-1.0, max_detections=0)
    for task in (Yolo(Fixed()), YoloV1(FixedV1())):
        with pytest.raises(ValueError, match="Use a source of boxes"):
            task.loss({"params": {}}, {"image": jnp.zeros((1, 8, 8, 3))})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo_v1", "fast_yolo", "yolo_v2", "yolo_v3"])
def test_a_thin_network_learns_three_pictures_by_heart(name):
    import optax

    from cvjax.data.sources.scenes import Scenes

    side = 64
    source = Scenes("train", image_size=side, num_examples=3, max_objects=3, size=(0.3, 0.5))
    examples = [source[i] for i in range(3)]
    data = {k: jnp.asarray(np.stack([e[k] for e in examples])) for k in examples[0]}
    data["image"] = data["image"].astype(jnp.float32) / 127.5 - 1
    small = {"yolo_v3": {"width": 32, "strides": (8, 16),
                         "anchors": (((12, 20), (16, 28)), ((24, 32),))},
             "yolo_v2": {"width": 32, "strides": (8, 16), "passthrough": 8,
                         "anchors": ((12, 20), (16, 28), (24, 32))}}  # fmt: skip
    if name in small:
        backbone = {"name": "darknet53", "width": 8, "stage_sizes": (1, 1, 1, 1)}
        model = create(name, num_classes=10, backbone=backbone, **small[name])
        task = Yolo(model, exclusive=name == "yolo_v2", rescore=name == "yolo_v2")
    else:
        # Fewer halvings than at 448 pixels, so that the grid is as fine as 4x4 at 64.
        stages = create(name, num_classes=10).stages[-4:]
        model = create(
            name, num_classes=10, image_size=side, width=1 / 32, dropout=0.0, stages=stages,
            norm="batch",
        )  # fmt: skip
        task = YoloV1(model, min_score=0.2)
    variables = task.init(jax.random.key(0), data)
    params = variables.pop("params")
    tx = optax.adam(3e-3)

    @jax.jit
    def step(params, rest, state):
        (loss, info), grads = jax.value_and_grad(
            lambda p: task.loss({"params": p, **rest}, data), has_aux=True
        )(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), info["mutated"], state, loss

    state, losses = tx.init(params), []
    for _ in range(300):
        params, variables, state, loss = step(params, variables, state)
        losses.append(float(loss))
    assert losses[-1] < 0.05 * losses[0]
