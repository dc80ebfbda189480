import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from cvjax.ops import box_coding, boxes, matching

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torchvision_boxes.npz")
CASES = json.loads(str(GOLDEN["cases"]))


def cases(op):
    """(options, arrays) of every golden case of `op`."""
    found = []
    for case in CASES:
        if case["op"] == op:
            prefix = case["id"] + "/"
            arrays = {k.removeprefix(prefix): GOLDEN[k] for k in GOLDEN if k.startswith(prefix)}
            found.append((case["args"], {k: jnp.asarray(v) for k, v in arrays.items()}))
    if not found:
        raise LookupError(f"no golden case of {op}")
    return found


def test_overlaps_agree_with_torchvision():
    pairs = {
        "box_iou": boxes.pairwise_iou,
        "generalized_box_iou": boxes.pairwise_giou,
        "distance_box_iou": boxes.pairwise_diou,
        "complete_box_iou": boxes.pairwise_ciou,
    }
    found = {name: [arrays for _, arrays in cases(f"torchvision.ops.{name}")] for name in pairs}

    @jax.jit
    def overlaps(found):
        return {
            name: [pairs[name](arrays["boxes1"], arrays["boxes2"]) for arrays in several]
            for name, several in found.items()
        }

    for name, several in overlaps(found).items():
        for got, arrays in zip(several, found[name], strict=True):
            # torchvision adds 1e-7 to some denominators.
            np.testing.assert_allclose(got, arrays["out"], rtol=0, atol=2e-6, err_msg=name)


def test_areas_formats_and_clipping_agree_with_torchvision():
    for _, arrays in cases("torchvision.ops.box_area"):
        np.testing.assert_allclose(boxes.box_area(arrays["boxes"]), arrays["out"], rtol=1e-6)
    converters = {
        "xyxy": (lambda x: x, lambda x: x),
        "xywh": (boxes.xywh_to_xyxy, boxes.xyxy_to_xywh),
        "cxcywh": (boxes.cxcywh_to_xyxy, boxes.xyxy_to_cxcywh),
    }
    for options, arrays in cases("torchvision.ops.box_convert"):
        read, write = converters[options["in_fmt"]][0], converters[options["out_fmt"]][1]
        got = write(read(arrays["boxes"]))
        np.testing.assert_allclose(got, arrays["out"], rtol=0, atol=2e-5, err_msg=str(options))
    for options, arrays in cases("torchvision.ops.clip_boxes_to_image"):
        got = boxes.clip_boxes(arrays["boxes"], tuple(options["size"]))
        np.testing.assert_array_equal(got, arrays["out"])
    for options, arrays in cases("torchvision.ops.remove_small_boxes"):
        got = np.flatnonzero(boxes.is_large(arrays["boxes"], options["min_size"]))
        np.testing.assert_array_equal(got, arrays["keep"])


def test_boxes_of_masks_are_torchvisions_made_half_open():
    found = [arrays for _, arrays in cases("torchvision.ops.masks_to_boxes")]
    masks = [*(arrays["masks"] for arrays in found), np.zeros((1, 3, 4), bool)]
    several = jax.jit(lambda masks: [boxes.mask_boxes(m) for m in masks])
    *got, of_nothing = several(masks)
    for one, arrays in zip(got, found, strict=True):
        np.testing.assert_array_equal(one, np.asarray(arrays["out"]) + [[0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(of_nothing, np.zeros((1, 4)))


def test_empty_boxes_give_zero_and_finite_gradients():
    first = jnp.asarray([[1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    second = jnp.asarray([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 4.0, 4.0], [5.0, 6.0, 5.0, 6.0]])
    overlaps = (boxes.iou, boxes.giou, boxes.diou, boxes.ciou)

    def totals(x):
        values = jnp.stack([overlap(x, second) for overlap in overlaps])
        return values.sum(axis=1), values[0]

    jacobian = jax.jacrev(totals, has_aux=True)
    gradients, iou = jax.jit(jacobian)(first)
    np.testing.assert_array_equal(iou, np.zeros(3))
    assert np.isfinite(gradients).all()
    # Apart from IoU, they still pull a box towards an empty one outside of it.
    assert (np.abs(gradients[1:, 2]).sum(-1) > 0).all()


def test_coverage_is_the_share_of_the_first_box():
    first = jnp.asarray([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 5.0, 9.0]])
    second = jnp.asarray([[1.0, 0.0, 9.0, 9.0]])
    got = jax.jit(boxes.pairwise_coverage)(first, second)
    np.testing.assert_array_equal(got, [[0.5], [0.0]])


def test_coders_agree_with_torchvision():
    for options, arrays in cases("BoxCoder.encode"):
        weights = tuple(options["weights"])
        got = box_coding.encode_boxes(
            arrays["reference_boxes"], arrays["proposals"], weights=weights
        )
        np.testing.assert_allclose(got, arrays["out"], rtol=1e-4, atol=1e-5)
    for options, arrays in cases("BoxCoder.decode"):
        got = box_coding.decode_boxes(
            arrays["rel_codes"], arrays["boxes"], weights=tuple(options["weights"])
        )
        np.testing.assert_allclose(got, arrays["out"], rtol=1e-5, atol=1e-4)


def test_matching_agrees_with_torchvision_and_padding_changes_nothing():
    for options, arrays in cases("Matcher"):
        overlap = arrays["match_quality_matrix"]
        rules = {
            "high": options["high_threshold"],
            "low": options["low_threshold"],
            "low_quality": options["allow_low_quality_matches"],
        }
        count = len(overlap)
        padded = jnp.pad(overlap, ((0, 2), (0, 0)), constant_values=0.99)
        match = jax.jit(functools.partial(matching.match_anchors, **rules))
        got = match(padded, jnp.arange(count + 2) < count)
        np.testing.assert_array_equal(got, arrays["out"], err_msg=str(options))


def test_an_untouched_object_claims_no_anchor():
    overlap = jnp.asarray([[0.0, 0.0, 0.0], [0.2, 0.6, 0.0]])
    match = functools.partial(matching.match_anchors, high=0.7, low=0.3, low_quality=True)
    match = jax.jit(match)
    got = match(overlap, jnp.ones(2, bool))
    np.testing.assert_array_equal(got, [matching.BACKGROUND, 1, matching.BACKGROUND])
    got = match(overlap, jnp.zeros(2, bool))
    np.testing.assert_array_equal(got, [matching.BACKGROUND] * 3)


def test_default_boxes_go_to_objects_by_iou_and_then_by_claim():
    overlap = np.array(
        [[0.6, 0.5, 0.1, 0.0], [0.7, 0.2, 0.3, 0.0], [0.9, 0.9, 0.9, 0.9], [0.0, 0.0, 0.0, 0.0]],
        np.float32,
    )
    match = jax.jit(functools.partial(matching.match_default_boxes, threshold=0.5))
    valid = jnp.array([True, True, False, True])
    # Both claim the first box and the last of them gets it; the last object touches nothing.
    np.testing.assert_array_equal(match(overlap, valid), [1, 0, -1, -1])
    # An object takes its best box away from one that overlaps it more, whatever the threshold.
    np.testing.assert_array_equal(
        match(np.array([[0.9, 0.8], [0.4, 0.45]], np.float32), jnp.ones(2, bool)), [0, 1]
    )
    np.testing.assert_array_equal(match(overlap, jnp.zeros(4, bool)), [-1] * 4)
    assert match(np.zeros((0, 3), np.float32), jnp.zeros(0, bool)).tolist() == [-1] * 3
