"""SSD's task: its loss against loops, its answers on cases worked by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.tasks.multibox_detection import MultiBoxDetection

ANCHORS = np.array(
    [[0, 0, 8, 8], [0, 0, 16, 8], [0, 8, 8, 16], [0, 8, 16, 16], [0, 0, 16, 16], [4, 4, 20, 20]],
    np.float32,
)
CENTERS = [((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) for x1, y1, x2, y2 in ANCHORS]


class Fixed(nn.Module):
    """A detector that says what it is told, as logits [B, 6, 1 + K] and codes [B, 6, 4]."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, image, *, train):
        batch = len(image)
        logits = self.param("logits", nn.initializers.zeros, (batch, 6, 1 + self.num_classes))
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
    """Sums of class and box loss and the number of boxes that stand for an object."""
    objects = [n for n in range(len(boxes)) if valid[n] and boxes[n][2] > boxes[n][0]]
    stands = {}
    for a in range(6):
        best = max(objects, key=lambda n: iou(boxes[n], ANCHORS[a]), default=None)
        if objects and iou(boxes[best], ANCHORS[a]) >= 0.5:
            stands[a] = best
    for n in objects:  # claims, the last one wins
        stands[max(range(6), key=lambda a: iou(boxes[n], ANCHORS[a]))] = n
    entropy = [
        np.log(np.exp(logits[a]).sum()) - logits[a][1 + label[stands[a]] if a in stands else 0]
        for a in range(6)
    ]
    background = sorted((entropy[a] for a in range(6) if a not in stands), reverse=True)
    class_loss = sum(entropy[a] for a in stands) + sum(background[: 1 * len(stands)])
    box_loss = 0.0
    for a, n in stands.items():
        (x1, y1, x2, y2), (x, y, w, h) = boxes[n], CENTERS[a]
        target = [
            ((x1 + x2) / 2 - x) / w / 0.1, ((y1 + y2) / 2 - y) / h / 0.1,
            np.log((x2 - x1) / w) / 0.2, np.log((y2 - y1) / h) / 0.2,
        ]  # fmt: skip
        for d in np.abs(codes[a] - target):
            box_loss += d - 0.5 if d > 1 else d**2 / 2
    return class_loss, box_loss, len(stands)


def test_loss_equals_a_loop_over_boxes_with_mining_and_leaves_padding_out():
    rng = np.random.default_rng(0)
    params = {
        "logits": rng.normal(size=(3, 6, 3)).astype(np.float32),
        "codes": rng.normal(size=(3, 6, 4)).astype(np.float32),
    }
    boxes = np.zeros((3, 3, 4), np.float32)
    # Two objects claim the first box; padding is a perfect match; a box without area.
    boxes[0] = [[1, 0, 9, 8], [0, 1, 6, 7], [0, 8, 8, 16]]
    boxes[1] = [[2, 8, 15, 16], [5, 5, 5, 9], [6, 1, 11, 9]]
    batch = {
        "image": jnp.zeros((3, 20, 20, 3)),
        "boxes": jnp.asarray(boxes),
        "box_label": jnp.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]]),
        "box_valid": jnp.array([[True, True, False], [True] * 3, [False] * 3]),
    }
    task = MultiBoxDetection(Fixed(), negative_ratio=1, box_weight=2.0)

    @jax.jit
    def loss(params, valid):
        return jax.value_and_grad(task.loss, has_aux=True)(
            {"params": params}, {**batch, "valid": valid}
        )

    fields = [np.asarray(batch[name]) for name in ("boxes", "box_label", "box_valid")]
    want = np.array([slow_losses(*x) for x in zip(*params.values(), *fields)])
    assert want[:, 2].tolist() == [2, 2, 0]
    for valid in ([True] * 3, [True, False, True]):
        (found, info), gradient = loss(params, jnp.array(valid))
        class_loss, box_loss, count = want[valid].sum(axis=0)
        np.testing.assert_allclose(info["metrics"]["class_loss"], class_loss / count, rtol=1e-5)
        np.testing.assert_allclose(info["metrics"]["box_loss"], box_loss / count, rtol=1e-5)
        np.testing.assert_allclose(info["metrics"]["matched"], count / sum(valid), rtol=1e-6)
        np.testing.assert_allclose(found, (class_loss + 2 * box_loss) / count, rtol=1e-5)
        for leaf in jax.tree.leaves(gradient):
            assert np.isfinite(leaf).all()
            assert np.any(leaf, axis=(1, 2)).tolist() == [True, valid[1], False]


def test_predict_takes_the_best_boxes_of_each_class_by_softmax_without_the_background():
    probability = np.full((1, 6, 3), 0.001)
    probability[0, :, 0] = 0.998
    probability[0, 0] = [0.1, 0.8, 0.1]  # [0, 0, 8, 8]: both classes are above min_score
    probability[0, 2] = [0.3, 0.7, 1e-9]  # moved up by its height: the same box, suppressed
    probability[0, 5] = [0.5, 1e-9, 0.5]  # twice as large, [-4, -4, 28, 28], cut
    probability[0, 3] = [0.6, 0.4, 1e-9]  # third best of its class: no candidate
    codes = np.zeros((1, 6, 4), np.float32)
    codes[0, 2, 1], codes[0, 5, 2:] = -10.0, 5 * np.log(2)
    task = MultiBoxDetection(Fixed(), candidates=2, max_detections=4, min_score=0.05)
    variables = {"params": {"logits": np.log(probability).astype(np.float32), "codes": codes}}
    found = jax.jit(task.predict)(variables, {"image": jnp.zeros((1, 18, 20, 3))})
    assert found["detected_valid"].tolist() == [[True] * 3 + [False]]
    assert found["detected_label"].tolist() == [[0, 1, 1, 0]]
    np.testing.assert_allclose(found["detected_score"][0], [0.8, 0.5, 0.1, 0], atol=1e-5)
    want = [[0, 0, 8, 8], [0, 0, 20, 18], [0, 0, 8, 8], [0] * 4]
    np.testing.assert_allclose(found["detected_boxes"][0], want, atol=1e-4)


def test_wrong_options_are_told_all_at_once():
    with pytest.raises(ValueError, match=r"negative_ratio(.|\n)*task.threshold(.|\n)*candidates"):
        MultiBoxDetection(Fixed(), threshold=1.6, negative_ratio=-1, candidates=0)
