"""The two-stage task: losses against loops, samples, answers on cases worked by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.tasks.two_stage_detection import TwoStageDetection

# Two levels of 2x1 and 1x1 places with two anchors each.
ANCHORS = np.array(
    [[0, 0, 8, 8], [0, 0, 16, 8], [0, 8, 8, 16], [0, 8, 16, 16], [0, 0, 16, 16], [4, 4, 20, 20]],
    np.float32,
)
LEVEL = [0, 0, 0, 0, 1, 1]
WEIGHTS = np.array([10, 10, 5, 5])


class Fixed(nn.Module):
    """First stage: what it is told, [B, 6] and [B, 6, 4]. Second: linear in the boxes' sides."""

    num_classes: int = 2

    def setup(self):
        self.objectness = self.param("objectness", nn.initializers.zeros, (2, 6))
        self.codes = self.param("codes", nn.initializers.zeros, (2, 6, 4))
        self.classes = self.param("classes", nn.initializers.zeros, (4, 3))
        self.sides = self.param("sides", nn.initializers.zeros, (4, 12))

    def __call__(self, image, *, train):
        def levels(x):
            batch, rest = len(x), x.shape[2:]
            return x[:, :4].reshape(batch, 2, 1, 2, *rest), x[:, 4:].reshape(batch, 1, 1, 2, *rest)

        outputs = {"objectness": levels(self.objectness), "box_codes": levels(self.codes)}
        return {**outputs, "anchors": jnp.asarray(ANCHORS)}, {"level1": image}

    def box_outputs(self, features, boxes, *, train):
        codes = (boxes @ self.sides).reshape(*boxes.shape[:2], 3, 4)
        return {"class_logits": boxes @ self.classes, "box_codes": codes}


def iou(a, b):
    side = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in range(2)]
    inter = max(side[0], 0) * max(side[1], 0)
    union = sum([(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)], -inter)
    return inter / union if union > 0 else 0.0


def code(box, anchor):
    (x1, y1, x2, y2), (u1, v1, u2, v2) = box, anchor
    w, h = u2 - u1, v2 - v1
    return np.array([(x1 + x2 - u1 - u2) / 2 / w, (y1 + y2 - v1 - v2) / 2 / h,
                     np.log((x2 - x1) / w), np.log((y2 - y1) / h)])  # fmt: skip


def decoded(code, anchor):
    u1, v1, u2, v2 = anchor
    w, h = u2 - u1, v2 - v1
    x, y = (u1 + u2) / 2 + code[0] * w, (v1 + v2) / 2 + code[1] * h
    w, h = w * np.exp(code[2]), h * np.exp(code[3])
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def smooth(a, b):
    return sum(d - 1 / 18 if d > 1 / 9 else 4.5 * d * d for d in np.abs(a - b))


def slow_proposals(objectness, codes, limit):
    """Greedy, box by box."""
    kept = []
    for a in np.argsort(-objectness, kind="stable"):
        box = np.clip(decoded(codes[a], ANCHORS[a]), 0, 20)
        if (box[2:] > box[:2]).all() and all(
            LEVEL[a] != LEVEL[b] or iou(box, other) <= 0.7 for b, other in kept
        ):
            kept.append((a, box))
    return [box for _, box in kept[:limit]]


def slow_losses(params, image, boxes, label, limit):
    """(class sum, box sum, count) of the first stage and of the second; every sample counts."""
    objectness, codes = params["objectness"][image], params["codes"][image]
    first, best = [0.0, 0.0, 0], [max(iou(b, a) for a in ANCHORS) for b in boxes]
    for i, anchor in enumerate(ANCHORS):
        overlaps = [iou(b, anchor) for b in boxes]
        claimed = any(o == t and o > 0 for o, t in zip(overlaps, best))
        top = max(overlaps, default=0)
        if not claimed and 0.3 <= top < 0.7:
            continue
        positive = bool(boxes) and (claimed or top >= 0.7)
        first[0] += np.log1p(np.exp(-objectness[i] if positive else objectness[i]))
        first[2] += 1
        if positive:
            first[1] += smooth(codes[i], code(boxes[int(np.argmax(overlaps))], anchor))
    second = [0.0, 0.0, 0]
    for region in [*slow_proposals(objectness, codes, limit), *boxes]:
        overlaps = [iou(b, region) for b in boxes]
        owner = int(np.argmax(overlaps)) if overlaps and max(overlaps) >= 0.5 else None
        target = 0 if owner is None else 1 + label[owner]
        logits = region @ params["classes"]
        second[0] += np.log(np.exp(logits).sum()) - logits[target]
        second[2] += 1
        if owner is not None:
            found = (region @ params["sides"]).reshape(3, 4)[target]
            second[1] += smooth(found, code(boxes[owner], region) * WEIGHTS)
    return first, second


def numbers():
    rng = np.random.default_rng(3)
    scale = {"objectness": 1.0, "codes": 0.3, "classes": 0.05, "sides": 0.02}
    shape = {"objectness": (2, 6), "codes": (2, 6, 4), "classes": (4, 3), "sides": (4, 12)}
    return {k: (scale[k] * rng.normal(size=shape[k])).astype(np.float32) for k in shape}


def batch():
    """Padding that holds a perfect match, a box without area, one that no anchor fits well."""
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0] = [[1, 0, 9, 8], [3, 3, 19, 20], [0, 8, 8, 16]]
    boxes[1] = [[4, 8, 15, 16], [5, 5, 5, 9], [0, 0, 0, 0]]
    return {
        "image": jnp.zeros((2, 20, 20, 3)),
        "boxes": jnp.asarray(boxes),
        "box_label": jnp.array([[1, 0, 1], [1, 1, 0]]),
        "box_valid": jnp.array([[True, True, False], [True, True, False]]),
    }


def test_losses_equal_loops_over_anchors_and_regions_and_their_gradient_is_finite():
    params, data = numbers(), batch()
    # As many samples as there may be, so that none is left to chance; a proposal too few.
    task = TwoStageDetection(
        Fixed(), rpn_samples=12, rpn_positive_share=1.0, train_proposals=4, roi_samples=99,
        roi_positive_share=1.0,
    )  # fmt: skip

    @jax.jit
    def loss(params, valid):
        rngs = {"noise": jax.random.key(0)}
        return jax.value_and_grad(task.loss, has_aux=True)(
            {"params": params}, {**data, "valid": valid}, rngs
        )

    objects = [[[1, 0, 9, 8], [3, 3, 19, 20]], [[4, 8, 15, 16]]]
    labels = [[1, 0], [1]]
    want = np.array([slow_losses(params, i, objects[i], labels[i], 4) for i in range(2)])
    assert want[:, 0, 1].all()
    assert want[:, 1, 1].all()
    for valid in ([True, True], [True, False]):
        (found, info), gradient = loss(params, jnp.array(valid))
        sums = want[valid].sum(axis=0)  # [stage, (class, box, count)]
        figures = info["metrics"]
        names = [["rpn_class_loss", "rpn_box_loss"], ["class_loss", "box_loss"]]
        for stage in range(2):
            for part in range(2):
                expected = sums[stage, part] / sums[stage, 2]
                np.testing.assert_allclose(figures[names[stage][part]], expected, rtol=2e-5)
        total = sum((sums[s, :2] / sums[s, 2]).sum() for s in range(2))
        np.testing.assert_allclose(found, total, rtol=2e-5)
        for name, leaf in gradient["params"].items():
            assert np.isfinite(leaf).all()
            if name in ("objectness", "codes"):
                assert [bool(np.any(x)) for x in leaf] == valid


def test_samples_are_balanced_and_marked_and_padding_is_never_drawn():
    task = TwoStageDetection(Fixed(), roi_samples=8, roi_positive_share=0.25)
    data = batch()
    rng = np.random.default_rng(0)
    proposals = np.concatenate([rng.uniform(0, 8, (2, 30, 2)), rng.uniform(9, 20, (2, 30, 2))], -1)
    proposals[:, 20:] = 0
    valid = jnp.arange(30)[None] < jnp.array([[20], [3]])
    found = jax.jit(task.sample_regions)(
        jnp.asarray(proposals, jnp.float32), valid, data, jax.random.key(1)
    )
    assert found["valid"].sum(axis=1).tolist()[0] == 8
    assert found["valid"].sum(axis=1).tolist()[1] <= 4  # three proposals and one object
    for i in range(2):
        assert (found["label"][i] > 0).sum() <= 2
        for box, label, target, there in zip(
            *(np.asarray(found[n][i]) for n in ("boxes", "label", "target", "valid"))
        ):
            assert there or not box.any()
            if there:
                assert box.any()
                assert (iou(box, target) >= 0.5) == (label > 0)


def test_predict_moves_cuts_and_suppresses_within_a_class_alone():
    params = {k: np.zeros_like(x) for k, x in numbers().items()}
    params["objectness"][:] = [3, 2, 1, -9, -9, -9]
    params["codes"][0, 1] = [0, 0, np.log(1 / 2), 0]  # [4, 0, 12, 8]
    params["codes"][:, 3:, 0] = 9.0  # beyond the right edge: no proposals, nor detections
    params["classes"][:, 1] = [0, 0, 0.5, 0]  # the further right it ends, the surer of class 0
    params["sides"][2, 4:8] = [10 / 8, 0, 0, 0]  # x2 / 8 widths to the right
    task = TwoStageDetection(Fixed(), proposals=6, max_detections=5)
    data = {"image": jnp.zeros((2, 20, 20, 3))}
    found = jax.jit(task.predict)({"params": params}, data)
    # Proposals x in [0, 8], [4, 12], [0, 8] again (lower down); moved by their x2.
    score = [np.exp(x / 2) / (np.exp(x / 2) + 2) for x in (12, 8, 8)]
    assert found["detected_valid"][0].tolist() == [True] * 3 + [False] * 2
    np.testing.assert_allclose(found["detected_score"][0][:3], score, rtol=1e-5)
    want = [[16, 0, 20, 8], [8, 0, 16, 8], [8, 8, 16, 16]]
    np.testing.assert_allclose(found["detected_boxes"][0][:3], want, atol=1e-4)
    assert found["detected_label"][0].tolist()[:3] == [0, 0, 0]


def test_wrong_options_data_without_boxes_and_missing_chance_are_told():
    with pytest.raises(ValueError, match=r"rpn_low(.|\n)*rpn_weight(.|\n)*task.proposals"):
        TwoStageDetection(Fixed(), rpn_low=0.9, rpn_weight=-1.0, proposals=0)
    with pytest.raises(ValueError, match="Use a source of boxes"):
        TwoStageDetection(Fixed()).loss({"params": {}}, {"image": jnp.zeros((1, 8, 8, 3))})
    with pytest.raises(ValueError, match=r"rngs\['noise'\]"):
        TwoStageDetection(Fixed()).loss({"params": {}}, batch())
