"""Average precision of detectors: pycocotools' figures, VOC's rules by slow loops, by hand."""

import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import clu.metrics
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.evaluators.coco_ap import COCO_NAMES
from cvjax.evaluators.detection_ap import DetectionAP
from cvjax.evaluators.detection_errors import KINDS, detection_errors
from cvjax.evaluators.detections import Detections, Truths, areas
from cvjax.evaluators.voc_ap import area_ap, eleven_point_ap, voc_ap

GOLDEN = Path(__file__).parents[1] / "golden" / "coco_bbox.npz"
NO_METRICS = clu.metrics.Collection.create()
DETECTED = ("boxes", "label", "score", "valid")


def predict(variables, batch):
    """The detections that the batch itself carries, as a detector would return them."""
    del variables
    return {f"detected_{name}": jnp.asarray(batch[f"hidden_{name}"]) for name in DETECTED}


def padded(truth, found, images, *, size, slots=30, seed=0):
    """Batches of the COCO golden's rows, every padding filled with what must not count."""
    rng = np.random.default_rng(seed)
    total = -(-len(images) // size) * size
    garbage = lambda *shape: rng.uniform(0, 100, (total, slots, *shape)).astype(np.float32)  # noqa: E731
    rows = {
        "image": np.zeros((total, 2, 2, 1), np.uint8),
        "valid": np.arange(total) < len(images),
        "boxes": garbage(4),
        "box_label": rng.integers(0, 5, (total, slots)),
        "box_valid": np.zeros((total, slots), bool),
        "box_ignore": np.zeros((total, slots), bool),
        "box_area": garbage(),
        "hidden_boxes": garbage(4),
        "hidden_label": rng.integers(0, 5, (total, slots)),
        "hidden_score": garbage(),
        "hidden_valid": np.zeros((total, slots), bool),
    }
    rows["box_valid"][len(images) :] = rows["hidden_valid"][len(images) :] = True
    for i, image in enumerate(images):
        places = rng.permutation(slots)  # objects need not come first
        for slot, (_, category, crowd, area, x, y, w, h) in zip(
            places, truth[truth[:, 0] == image]
        ):
            rows["boxes"][i, slot] = x, y, x + w, y + h
            rows["box_label"][i, slot] = category - 1
            rows["box_valid"][i, slot], rows["box_ignore"][i, slot] = not crowd, crowd
            rows["box_area"][i, slot] = area
        # equal scores keep their order, so detections stay in theirs
        places = np.sort(rng.permutation(slots)[: (found[:, 0] == image).sum()])
        for slot, (_, category, score, x, y, w, h) in zip(places, found[found[:, 0] == image]):
            rows["hidden_boxes"][i, slot] = x, y, x + w, y + h
            rows["hidden_label"][i, slot] = category - 1
            rows["hidden_score"][i, slot] = score
            rows["hidden_valid"][i, slot] = True
    for start in range(0, total, size):
        yield {name: value[start : start + size] for name, value in rows.items()}


def golden():
    """COCO's ids of categories have gaps; columns 1 count from 1 here."""
    found = dict(np.load(GOLDEN))
    for name in ("truth", "found"):
        found[name][:, 1] = np.searchsorted(found["category_ids"], found[name][:, 1]) + 1
    return found


def evaluator(**options):
    return DetectionAP(predict, NO_METRICS, tuple("abcde"), **options)


def test_padded_batches_give_pycocotools_twelve_figures():
    gold = golden()
    for size in (4, 14):
        batches = padded(gold["truth"], gold["found"], gold["image_ids"], size=size)
        results = evaluator().run({}, batches, num_examples=14)
        found = [results.scalars[name] for name in COCO_NAMES]
        # boxes are float32 in a batch, and the golden's are decimals: IoUs move by 1e-7
        np.testing.assert_allclose(found, gold["figures"], atol=1e-6)
        expected = np.where(gold["ap_per_category"] < 0, np.nan, gold["ap_per_category"])
        np.testing.assert_allclose(results.arrays["per_class_AP"], expected, atol=1e-6)


def test_figures_are_those_of_the_original_pictures_whatever_the_view():
    gold = golden()
    batches = list(padded(gold["truth"], gold["found"], gold["image_ids"], size=14))
    plain = evaluator().run({}, batches)
    # a view at a quarter of the size, moved: COCO's small objects must not become more
    matrix = np.array([[0.25, 0, 7], [0, 0.25, -3], [0, 0, 1]], np.float32)
    for batch in batches:
        for name in ("boxes", "hidden_boxes"):
            batch[name] = (batch[name] * 0.25 + np.tile([7, -3], 2)).astype(np.float32)
        batch["view_matrix"] = np.broadcast_to(matrix, (14, 3, 3))
    viewed = evaluator().run({}, batches)
    for name in COCO_NAMES:
        assert viewed.scalars[name] == pytest.approx(plain.scalars[name], abs=1e-6)


def test_the_first_valid_pictures_come_with_what_is_true_and_what_was_found():
    gold = golden()
    batches = list(padded(gold["truth"], gold["found"], gold["image_ids"], size=10))
    batches[0]["image"] = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    batches[0]["valid"][[0, 4]] = False
    pictures = evaluator().run({}, batches).pictures
    shown = [1, 2, 3, 5, 6, 7, 8, 9]
    assert pictures["image"][:, 0, 0, 0].tolist() == shown
    for name in ("boxes", "box_label", "box_valid"):
        np.testing.assert_array_equal(pictures[name], batches[0][name][shown])
    for name in DETECTED:
        np.testing.assert_array_equal(
            pictures[f"detected_{name}"], batches[0][f"hidden_{name}"][shown]
        )


def test_the_names_of_the_scalars_are_known_before():
    gold = golden()
    batches = list(padded(gold["truth"], gold["found"], gold["image_ids"], size=14))
    names = evaluator().scalar_names({}, batches[0])
    assert set(names) == set(evaluator().run({}, batches).scalars)


def test_no_detections_and_no_objects_are_figures_not_crashes():
    gold = golden()
    none = np.zeros((0, 7))
    results = evaluator().run({}, padded(gold["truth"], none, gold["image_ids"], size=14))
    assert results.scalars["AP"] == results.scalars["voc2010_AP50"] == 0
    batches = padded(np.zeros((0, 8)), gold["found"], gold["image_ids"], size=14)
    results = evaluator().run({}, batches)
    assert results.scalars["AP"] == results.scalars["recall50"] == -1


def test_bad_batches_and_diverged_models_are_named():
    gold = golden()
    batches = list(padded(gold["truth"], gold["found"], gold["image_ids"], size=14))
    with pytest.raises(ValueError, match=r"batches have no \['boxes'\]"):
        evaluator().run({}, [{k: v for k, v in batches[0].items() if k != "boxes"}])
    broken = {**batches[0], "hidden_score": np.full_like(batches[0]["hidden_score"], np.nan)}
    with pytest.raises(ValueError, match=r"not finite.*diverged"):
        evaluator().run({}, [broken])
    with pytest.raises(ValueError, match="box_label runs from 0 to 3, but there are 2 classes"):
        DetectionAP(predict, NO_METRICS, ("a", "b")).run({}, batches)
    with pytest.raises(ValueError, match="each name must be one of"):
        evaluator(similar=[["a", "z"]])


# ---- VOC


def scene(seed, classes=3, images=6):
    """Objects, and detections that are jittered copies, duplicates, wrong classes and noise."""
    rng = np.random.default_rng(seed)
    count = 25
    corner, extent = rng.uniform(0, 60, (count, 2)), rng.uniform(10, 40, (count, 2))
    boxes = np.hstack([corner, corner + extent])
    truths = Truths(
        rng.integers(0, images, count),
        boxes,
        rng.integers(0, classes, count),
        rng.random(count) < 0.2,
        areas(boxes),
    )
    copied = rng.integers(0, count, 80)
    jittered = boxes[copied] + rng.normal(0, 4, (80, 4)) * rng.integers(0, 3, (80, 1))
    jittered[:, 2:] = np.maximum(jittered[:, 2:], jittered[:, :2] + 1)
    label = np.where(rng.random(80) < 0.8, truths.label[copied], rng.integers(0, classes, 80))
    jittered[70:] += 300  # nowhere near an object
    score = rng.permutation(80) / 80
    return truths, Detections(truths.image[copied], jittered, label, score)


def one_iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area = lambda c: (c[2] - c[0]) * (c[3] - c[1])  # noqa: E731
    return w * h / (area(a) + area(b) - w * h)


def devkit(truths, detections, label):
    """The devkit's VOCevaldet, a detection at a time; 2010 by recall steps, 2007 by thresholds."""
    objects = [g for g in range(len(truths.label)) if truths.label[g] == label]
    positives = sum(not truths.ignore[g] for g in objects)
    claimed, outcome = set(), []
    ranked = [d for d in np.argsort(-detections.score) if detections.label[d] == label]
    for d in ranked:
        best, which = -1.0, None
        for g in objects:
            if truths.image[g] == detections.image[d]:
                iou = one_iou(detections.boxes[d], truths.boxes[g])
                if iou > best:
                    best, which = iou, g
        if best >= 0.5 and truths.ignore[which]:
            continue
        outcome.append(best >= 0.5 and which not in claimed)
        if outcome[-1]:
            claimed.add(which)
    points, hits = [(0.0, 0.0)], 0
    for rank, right in enumerate(outcome, 1):
        hits += right
        points.append((hits / positives, hits / rank))
    recalls = sorted({r for r, _ in points})
    ahead = {r: max(p for q, p in points if q >= r) for r in recalls}
    area = sum((b - a) * ahead[b] for a, b in itertools.pairwise(recalls))
    eleven = (
        sum(max([p for r, p in points if r >= t / 10 - 1e-12], default=0.0) for t in range(11)) / 11
    )
    return eleven, area, hits / positives


def test_voc_ap_matches_the_devkits_loop():
    for seed in range(6):
        truths, detections = scene(seed)
        found = voc_ap(detections, truths, num_classes=4)
        for label in range(3):
            expected = devkit(truths, detections, label)
            np.testing.assert_allclose([figure[label] for figure in found], expected, rtol=1e-12)
        assert np.isnan([figure[3] for figure in found]).all()  # a class that is not there


def test_voc_ap_by_hand():
    # ranks: right, wrong, right, of 4 objects: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2
    hits, precision = np.array([1, 1, 2]), np.array([1, 1 / 2, 2 / 3])
    assert area_ap(hits, precision, 4) == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3)
    # recalls 0, .1, .2 reach 1; .3, .4, .5 reach 2/3; nothing reaches more
    assert eleven_point_ap(hits, precision, 4) == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)
    # a recall of exactly 0.3 counts for the point 0.3
    assert eleven_point_ap(np.array([1, 2, 3]), np.ones(3), 10) == pytest.approx(4 / 11)


# ---- kinds of errors

BOX = np.array([10.0, 10, 30, 30])  # the others are moved to the right: IoU (20 - s) / (20 + s)
MOVES = {"IoU 0.6": 5.0, "IoU 0.25": 12.0, "IoU 0.05": 18.0}


def moved(by):
    return BOX + np.array([by, 0, by, 0])


def test_each_kind_of_error_by_hand():
    cases = [  # (class found, moved by, score) of a picture with one object of class 0
        ([(0, 0.0, 0.9)], "correct"),
        ([(0, 5.0, 0.9)], "correct"),
        ([(0, 12.0, 0.9)], "localisation"),
        ([(0, 18.0, 0.9)], "background"),
        ([(1, 0.0, 0.9)], "similar"),
        ([(1, 12.0, 0.9)], "similar"),
        ([(2, 0.0, 0.9)], "other"),
        ([(2, 18.0, 0.9)], "background"),
        ([(0, 0.0, 0.9), (0, 5.0, 0.8)], "duplicate"),
    ]
    for found, kind in cases:
        # an object of every class far away, so that of each class enough detections are looked at
        far = [moved(500 + 100 * k) for k in range(3) for _ in range(2)]
        boxes = np.stack([BOX, *far])
        label = np.array([0, 0, 0, 1, 1, 2, 2])
        truths = Truths(np.zeros(7, int), boxes, label, np.zeros(7, bool), areas(boxes))
        detections = Detections(
            np.zeros(len(found), int),
            np.stack([moved(by) for _, by, _ in found]),
            np.array([k for k, _, _ in found]),
            np.array([score for _, _, score in found]),
        )
        counts, missed = detection_errors(detections, truths, num_classes=3, similar=[[0, 1]])
        expected = dict.fromkeys(KINDS, 0)
        expected["correct"] += len(found) > 1
        expected[kind] += 1
        assert dict(zip(KINDS, counts.sum(axis=0))) == expected
        assert missed.sum() == 7 - expected["correct"]


def test_error_counts_match_a_plain_loop():
    for seed in range(4):
        truths, detections = scene(seed)
        counts, _ = detection_errors(detections, truths, num_classes=3, similar=[[0, 2]])
        alike = {(0, 2), (2, 0)}
        expected = np.zeros((3, len(KINDS)), int)
        for label in range(3):
            budget = sum(truths.label[g] == label and not truths.ignore[g] for g in range(25))
            claimed = set()
            for d in np.argsort(-detections.score):
                if detections.label[d] != label or not budget:
                    continue
                overlaps = {
                    g: one_iou(detections.boxes[d], truths.boxes[g])
                    for g in range(25)
                    if truths.image[g] == detections.image[d]
                }
                same = {g: v for g, v in overlaps.items() if truths.label[g] == label}
                best = max(same, key=same.get, default=None)
                rest = {
                    g: (label, int(truths.label[g])) in alike
                    for g, v in overlaps.items()
                    if truths.label[g] != label and v >= 0.1 and not truths.ignore[g]
                }
                if best is not None and same[best] >= 0.5:
                    if truths.ignore[best]:
                        continue
                    kind = "duplicate" if best in claimed else "correct"
                    claimed.add(best)
                elif best is not None and same[best] >= 0.1:
                    kind = "localisation"
                elif rest:
                    kind = "similar" if any(rest.values()) else "other"
                else:
                    kind = "background"
                expected[label, KINDS.index(kind)] += 1
                budget -= 1
        np.testing.assert_array_equal(counts, expected)


# ---- several processes

PROGRAM = """
import sys
import jax, numpy as np
process, port = map(int, sys.argv[1:])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from test_detection_ap import evaluator, golden, padded
gold = golden()
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), P("data"))
def on_mesh(batch):
    return {name: jax.make_array_from_callback(value.shape, sharding, lambda i, v=value: v[i])
            for name, value in batch.items()}
batches = padded(gold["truth"], gold["found"], gold["image_ids"], size=4)
results = evaluator().run({}, map(on_mesh, batches), num_examples=14)
print(*[repr(results.scalars[name]) for name in sorted(results.scalars)])
"""


@pytest.mark.slow
def test_two_processes_find_the_figures_of_one():
    gold = golden()
    batches = padded(gold["truth"], gold["found"], gold["image_ids"], size=4)
    results = evaluator().run({}, batches)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parent)))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(process), str(port)],
            env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for output in outputs:
        figures = [float(word) for word in output.splitlines()[-1].split()]
        expected = [results.scalars[name] for name in sorted(results.scalars)]
        np.testing.assert_array_equal(figures, expected)


def test_a_config_says_which_classes_are_similar():
    from cvjax import build
    from cvjax.config import ConfigError, load
    from cvjax.train import loop

    root = Path(__file__).resolve().parents[2]

    def experiment(**options):
        config = load(f"{root}/configs/detection/retinanet_scenes.py:smoke")
        config.evals.test.options = options
        config.evals.other = dict(split="train")
        return build.experiment(config)

    made = loop._evaluators(experiment(similar=(("3", "8"), ("1", "7"))))
    assert made["test"].similar == (("3", "8"), ("1", "7"))
    assert made["other"].similar == ()
    with pytest.raises(ConfigError, match="each name must be one of"):
        experiment(similar=(("3", "x"),))
    with pytest.raises(ConfigError, match="Did you mean 'similar'"):
        experiment(simlar=())
