"""Classification with localisation and landmarks: the course's vectors, losses and answers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.data.source import SourceInfo
from cvjax.data.sources.scenes import Scenes
from cvjax.models import create
from cvjax.tasks.localization import Localization

SMALL = {"name": "resnet18", "width": 8, "stage_sizes": (1, 1)}


class Fixed(nn.Module):
    """Says what it is told of three pictures: 3 classes, 2 points."""

    num_classes: int = 3
    num_points: int = 2
    boxes: bool = True

    @nn.compact
    def __call__(self, image, *, train):
        def told(name, *shape):
            return self.param(name, nn.initializers.zeros, (3, *shape))

        return {
            "present": told("present"),
            "box": told("box", 4),
            "points": told("points", 2, 2),
            "class_logits": told("class_logits", 3),
        }, {}


def batch():
    """An object besides a smaller one and larger padding; one without area; one at the edge."""
    boxes = np.zeros((3, 3, 4), np.float32)
    boxes[0] = [[1, 1, 3, 3], [10, 4, 20, 12], [0, 0, 40, 20]]
    boxes[1, 0] = [5, 5, 5, 9]
    boxes[2, 0] = [30, 10, 40, 20]
    points = np.zeros((3, 3, 2, 3), np.float32)
    points[0, 1] = [[12, 6, 2], [0, 0, 0]]
    points[2, 0] = [[32, 12, 1], [38, 18, 2]]
    return {
        "image": jnp.zeros((3, 20, 40, 3)),
        "boxes": jnp.asarray(boxes),
        "box_label": jnp.array([[0, 2, 1], [1, 0, 0], [1, 0, 0]]),
        "box_valid": jnp.array([[True, True, False], [True, False, False], [True, False, False]]),
        "keypoints": jnp.asarray(points),
    }


def drawn():
    rng = np.random.default_rng(0)
    shape = {"present": (3,), "box": (3, 4), "points": (3, 2, 2), "class_logits": (3, 3)}
    return {k: rng.normal(size=s).astype(np.float32) for k, s in shape.items()}


def slow_loss(params, i, squared):
    """The course's formula, number by number; 10 is place_weight."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    said, there = params["present"][i], i != 1
    if not there:
        return sigmoid(said) ** 2 if squared else np.log(1 + np.exp(said))
    box = {0: [15 / 40, 8 / 20, 10 / 40, 8 / 20], 2: [35 / 40, 15 / 20, 10 / 40, 10 / 20]}[i]
    points = {0: {0: (12 / 40, 6 / 20)}, 2: {0: (32 / 40, 12 / 20), 1: (38 / 40, 18 / 20)}}[i]
    label = {0: 2, 2: 1}[i]
    place = sum((params["box"][i][j] - box[j]) ** 2 for j in range(4))
    for j, point in points.items():
        place += sum((params["points"][i][j][k] - point[k]) ** 2 for k in range(2))
    scores = params["class_logits"][i]
    if squared:
        rest = (sigmoid(said) - 1) ** 2
        rest += sum((sigmoid(scores[k]) - (k == label)) ** 2 for k in range(3))
    else:
        rest = np.log(1 + np.exp(-said)) + np.log(np.exp(scores).sum()) - scores[label]
    return 10 * place + rest


@pytest.mark.parametrize("name", ["mixed", "squared"])
def test_loss_is_the_courses_and_counts_p_c_alone_where_there_is_nothing(name):
    params, task = drawn(), Localization(Fixed(), loss_name=name, place_weight=10.0)

    def loss(p):
        return task.loss({"params": p}, batch())

    (found, info), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    want = np.mean([slow_loss(params, i, name == "squared") for i in range(3)])
    np.testing.assert_allclose(found, want, rtol=1e-5)
    np.testing.assert_allclose(info["metrics"]["loss"], want, rtol=1e-5)
    assert np.abs(gradient["present"]).min() > 0
    for part in ("box", "points", "class_logits"):
        assert np.abs(gradient[part][0]).max() > 0
        assert not np.any(gradient[part][1])
    assert not np.any(gradient["points"][0, 1])  # that point is not there


def test_prediction_is_one_detection_and_points_in_pixels():
    params = {k: np.zeros_like(x) for k, x in drawn().items()}
    params["present"][:] = [2, -2, 0.1]
    params["box"][0] = [15 / 40, 8 / 20, 10 / 40, 8 / 20]
    params["box"][2] = [1.0, 0.5, 0.5, 0.5]  # half of it is outside
    params["points"][0] = [[0.325, 0.4], [9, 9]]
    params["class_logits"][0, 2] = 5
    task = Localization(Fixed())
    found = jax.jit(task.predict)({"params": params}, batch())
    assert found["detected_valid"][:, 0].tolist() == [True, False, True]
    np.testing.assert_allclose(found["detected_boxes"][0, 0], [10, 4, 20, 12], atol=1e-4)
    np.testing.assert_allclose(found["detected_boxes"][2, 0], [30, 5, 40, 15], atol=1e-4)
    assert found["detected_label"][0, 0] == 2
    score = 1 / (1 + np.exp(-2)) * np.exp(5) / (np.exp(5) + 2)
    np.testing.assert_allclose(found["detected_score"][0, 0], score, rtol=1e-5)
    measured = task.metrics().single_from_model_output(**found).compute()
    np.testing.assert_allclose(measured["present_accuracy"], 1)
    # Of the first, (13, 8) instead of (12, 6); of the third, zeros instead of two points.
    diagonals = np.hypot(10, 8), np.hypot(10, 10)
    third = (np.hypot(32, 12) + np.hypot(38, 18)) / 2
    want = (np.hypot(1, 2) / diagonals[0] + third / diagonals[1]) / 2
    np.testing.assert_allclose(measured["point_error"], want, rtol=1e-5)


def test_outputs_are_the_courses_8_of_three_classes_and_129_of_64_points():
    for fields, count in (
        ({"num_classes": 3}, 8),
        ({"num_classes": None, "boxes": False, "num_points": 64}, 129),
    ):
        model = create("localizer", backbone=SMALL, stride=8, **fields)
        x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        (outputs, _), variables = jax.eval_shape(
            lambda x, model=model: model.init_with_output(jax.random.key(0), x, train=False), x
        )
        assert variables["params"]["output"]["bias"].shape == (count,)
        assert sum(np.prod(x.shape[1:], dtype=int) for x in outputs.values()) == count


def test_scenes_may_be_empty_and_wrong_models_and_data_are_told():
    source = Scenes("train", image_size=32, num_examples=12, min_objects=0, max_objects=1)
    counts = [source[i]["box_valid"].sum() for i in range(12)]
    assert set(counts) == {0, 1}
    with pytest.raises(ValueError, match=r"loss_name: got 'l2'(.|\n)*place_weight(.|\n)*boxes"):
        Localization(Fixed(boxes=False), loss_name="l2", place_weight=-1.0)
    info = SourceInfo("x", ("a", "b", "c"), 3, None, keypoint_names=("top",))
    with pytest.raises(ValueError, match="num_points: got 2, but x has 1"):
        Localization(Fixed()).check(info)
    data = batch()
    del data["keypoints"]
    with pytest.raises(ValueError, match="no keypoints"):
        Localization(Fixed()).loss({"params": drawn()}, data)
