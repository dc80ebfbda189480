"""The detection task: its loss against loops, its answers on cases worked by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.tasks.detection import Detection

# Two levels of 2x1 and 1x1 places with two anchors each.
ANCHORS = np.array(
    [[0, 0, 8, 8], [0, 0, 16, 8], [0, 8, 8, 16], [0, 8, 16, 16], [0, 0, 16, 16], [4, 4, 20, 20]],
    np.float32,
)


class Fixed(nn.Module):
    """A detector that says what it is told, as logits [B, 6, K] and codes [B, 6, 4]."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train):
        batch = len(image)
        logits = self.param("logits", nn.initializers.zeros, (batch, 6, self.num_classes))
        codes = self.param("codes", nn.initializers.zeros, (batch, 6, 4))

        def levels(x):
            return (
                x[:, :4].reshape(batch, 2, 1, 2, x.shape[-1]),
                x[:, 4:].reshape(batch, 1, 1, 2, x.shape[-1]),
            )

        outputs = {"class_logits": levels(logits), "box_codes": levels(codes)}
        return {**outputs, "anchors": jnp.asarray(ANCHORS)}, {}


def iou(a, b):
    side = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in range(2)]
    inter = max(side[0], 0) * max(side[1], 0)
    return inter / sum([(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)], -inter)


def slow_losses(logits, codes, boxes, label, valid):
    """Anchor by anchor, class by class, with the formulas of the papers."""
    objects = [n for n in range(len(boxes)) if valid[n] and boxes[n][2] > boxes[n][0]]
    overlap = {(n, a): iou(boxes[n], ANCHORS[a]) for n in objects for a in range(6)}
    class_loss, box_loss, count = 0.0, 0.0, 0
    for a in range(6):
        best = max(objects, key=lambda n: overlap[n, a], default=None)
        value = overlap[best, a] if objects else 0
        claimed = any(0 < overlap[n, a] == max(overlap[n, c] for c in range(6)) for n in objects)
        if not claimed and 0.4 <= value < 0.5:
            continue
        positive = claimed or value >= 0.5
        count += positive
        for k in range(3):
            p = 1 / (1 + np.exp(-logits[a][k]))
            hit = positive and label[best] == k
            p_t, weight = (p, 0.25) if hit else (1 - p, 0.75)
            class_loss -= weight * (1 - p_t) ** 2 * np.log(p_t)
        if positive:
            (x1, y1, x2, y2), (u1, v1, u2, v2) = boxes[best], ANCHORS[a]
            w, h = u2 - u1, v2 - v1
            target = [
                (x1 + x2 - u1 - u2) / 2 / w, (y1 + y2 - v1 - v2) / 2 / h,
                np.log((x2 - x1) / w), np.log((y2 - y1) / h),
            ]  # fmt: skip
            for d in np.abs(codes[a] - target):
                box_loss += d - 0.05 if d > 0.1 else d**2 / 0.2
    return class_loss / max(count, 1), box_loss / max(count, 1), count


def batch_of_three():
    """Padding that holds a perfect match, a box without area, and a picture with no object."""
    boxes = np.zeros((3, 3, 4), np.float32)
    boxes[0] = [[1, 0, 9, 8], [3, 3, 19, 21], [0, 8, 8, 16]]
    boxes[1] = [[2, 8, 15, 16], [5, 5, 5, 9], [6, 1, 11, 9]]
    return {
        "image": jnp.zeros((3, 20, 20, 3)),
        "boxes": jnp.asarray(boxes),
        "box_label": jnp.array([[2, 0, 1], [1, 1, 0], [0, 0, 0]]),
        "box_valid": jnp.array([[True, True, False], [True] * 3, [False] * 3]),
    }


def test_loss_equals_a_loop_over_anchors_and_classes_and_its_gradient_is_finite():
    rng = np.random.default_rng(0)
    params = {
        "logits": rng.normal(size=(3, 6, 3)).astype(np.float32),
        "codes": (0.3 * rng.normal(size=(3, 6, 4))).astype(np.float32),
    }
    task, batch = Detection(Fixed()), batch_of_three()

    @jax.jit
    def loss(params, valid):
        return jax.value_and_grad(task.loss, has_aux=True)(
            {"params": params}, {**batch, "valid": valid}
        )

    fields = [np.asarray(batch[name]) for name in ("boxes", "box_label", "box_valid")]
    want = np.array([slow_losses(*x) for x in zip(*params.values(), *fields)])
    assert want[:, 2].tolist() == [3, 2, 0]
    for valid in ([True] * 3, [True, False, True]):
        (found, info), gradient = loss(params, jnp.array(valid))
        class_loss, box_loss, count = want[valid].mean(axis=0)
        np.testing.assert_allclose(info["metrics"]["class_loss"], class_loss, rtol=1e-5)
        np.testing.assert_allclose(info["metrics"]["box_loss"], box_loss, rtol=1e-5)
        np.testing.assert_allclose(info["metrics"]["matched"], count)
        np.testing.assert_allclose(found, class_loss + box_loss, rtol=1e-5)
        for leaf in jax.tree.leaves(gradient):
            assert np.isfinite(leaf).all()
            assert np.any(leaf, axis=(1, 2)).tolist()[1] == valid[1]


def test_atss_decides_which_anchors_are_learnt():
    batch, task = batch_of_three(), Detection(Fixed(), matching="atss", atss_candidates=1)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 6, 3)).astype(np.float32)
    params = {"logits": logits, "codes": np.zeros((3, 6, 4), np.float32)}
    run = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    (_, info), gradient = run({"params": params}, batch)
    # By hand: of a level the two anchors of the nearest place are candidates. The first object,
    # (1, 0, 9, 8), has IoUs 0.78, 0.5, 0.25 and 0.07 with its candidates, of mean 0.40 and
    # deviation 0.31, so that the first anchor alone is for it; the last is for the second object.
    moved = np.asarray(gradient["params"]["codes"]).any(axis=-1)
    assert moved[0].tolist() == [True, False, False, False, False, True]
    assert not moved[2].any()
    np.testing.assert_allclose(info["metrics"]["matched"], moved.sum() / 3)
    # Nothing lies between object and background: every logit is learnt.
    assert np.asarray(gradient["params"]["logits"]).all()
    with pytest.raises(ValueError, match=r"atss_candidates=None with matching='atss'"):
        Detection(Fixed(), matching="atss")


def test_predict_decodes_cuts_to_the_picture_and_suppresses_within_a_class_alone():
    def logit(p):
        return np.log(p / (1 - p))

    logits = np.full((1, 6, 3), -9.0, np.float32)
    codes = np.zeros((1, 6, 4), np.float32)
    logits[0, 0, 1] = logit(0.9)  # [0, 0, 8, 8]
    logits[0, 2, 1], codes[0, 2, 1] = logit(0.8), -1.0  # moved up by its height: the same box
    logits[0, 1, 2] = logit(0.7)  # twice as wide, another class
    logits[0, 0, 2] = logit(0.6)  # IoU 0.5 with the one before: not above, so it stays
    logits[0, 5, 0], codes[0, 5, 2:] = logit(0.5), np.log(2)  # [-4, -4, 28, 28], cut
    logits[0, 4, 0] = logit(0.04)  # below min_score
    task = Detection(Fixed(), max_detections=6)
    variables = {"params": {"logits": logits, "codes": codes}}
    found = jax.jit(task.predict)(variables, {"image": jnp.zeros((1, 18, 20, 3))})
    assert found["detected_valid"].tolist() == [[True] * 4 + [False] * 2]
    assert found["detected_label"].tolist() == [[1, 2, 2, 0, 0, 0]]
    np.testing.assert_allclose(found["detected_score"][0], [0.9, 0.7, 0.6, 0.5, 0, 0], rtol=1e-5)
    want = [[0, 0, 8, 8], [0, 0, 16, 8], [0, 0, 8, 8], [0, 0, 20, 18], [0] * 4, [0] * 4]
    np.testing.assert_allclose(found["detected_boxes"][0], want, atol=1e-5)


def test_wrong_options_and_data_without_boxes_are_told_all_at_once():
    with pytest.raises(ValueError, match=r"task.low, task.high(.|\n)*task.gamma(.|\n)*candidates"):
        Detection(Fixed(), low=0.6, gamma=-1.0, candidates=0)
    with pytest.raises(ValueError, match="Use a source of boxes"):
        Detection(Fixed()).loss({"params": {}}, {"image": jnp.zeros((1, 8, 8, 3))})
