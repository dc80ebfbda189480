import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.roi import assign_levels, roi_align, roi_pool

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torchvision_roi.npz")
CASES = json.loads(str(GOLDEN["cases"]))
IMAGES = [jnp.asarray(x) for x in GOLDEN["input"]]


def read(op, boxes, scale, **options):
    """torchvision's boxes begin with the image's index: the two images are two levels here."""
    levels = jnp.asarray(boxes[:, 0], jnp.int32)
    call = jax.jit(functools.partial(op, scales=[scale, scale], **options))
    return call(IMAGES, jnp.asarray(boxes[:, 1:]), levels)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_roi_align_and_pool_agree_with_torchvision(case):
    args = case["args"]
    options = {"scale": args["spatial_scale"], "output": tuple(args["output_size"])}
    boxes, want = GOLDEN[case["id"] + "/boxes"], GOLDEN[case["id"] + "/out"]
    if case["op"].endswith("roi_pool"):
        np.testing.assert_array_equal(read(roi_pool, boxes, **options), want)
        return
    adaptive = args["sampling_ratio"] == -1
    options["samples"] = 8 if adaptive else args["sampling_ratio"]
    got = read(roi_align, boxes, aligned=args["aligned"], adaptive=adaptive, **options)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


def test_pyramid_of_maps_agrees_with_torchvision():
    maps = [jnp.asarray(GOLDEN[f"pyramid/map{i}"]) for i in range(4)]
    boxes = jnp.asarray(GOLDEN["pyramid/boxes"])
    levels = assign_levels(boxes, lowest=2, highest=5)
    assert len(set(levels.tolist())) > 1
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    call = functools.partial(roi_align, output=(7, 7), scales=scales, aligned=False)
    got = jax.jit(call)(maps, boxes, levels)
    # Places of about 50 map pixels are rounded to 4e-6.
    np.testing.assert_allclose(got, GOLDEN["pyramid/out"], rtol=0, atol=2e-5)


def test_levels_follow_the_papers_examples():
    sides = jnp.asarray([0.0, 56.0, 111.9, 112.0, 223.0, 224.0, 448.0, 5000.0])
    boxes = jnp.stack([jnp.zeros(8), jnp.zeros(8), sides, sides], axis=-1)
    got = assign_levels(boxes, lowest=2, highest=5)
    np.testing.assert_array_equal(got, [0, 0, 0, 1, 1, 2, 3, 3])
    with pytest.raises(ValueError, match="lowest=5 is above highest=2"):
        assign_levels(boxes, lowest=5, highest=2)


def test_gradients_agree_with_torchvision_and_with_finite_differences():
    rois = GOLDEN["gradient/boxes"]
    levels, weight = jnp.asarray(rois[:, 0], jnp.int32), jnp.asarray(GOLDEN["gradient/cotangent"])

    @jax.jit
    def value(images, boxes):
        got = roi_align(images, boxes, levels, output=(7, 7), scales=[1.0, 1.0])
        return (got * weight).sum(axis=(1, 2, 3))  # one value a box

    boxes = jnp.asarray(rois[:, 1:])
    gradients = jax.grad(lambda *x: value(*x).sum(), argnums=(0, 1))
    on_images, on_boxes = jax.jit(gradients)(IMAGES, boxes)
    np.testing.assert_allclose(np.stack(on_images), GOLDEN["gradient/input"], rtol=0, atol=3e-6)
    for coordinate in range(4):
        step = np.zeros(boxes.shape, np.float32)
        step[:, coordinate] = 2e-3
        difference = (value(IMAGES, boxes + step) - value(IMAGES, boxes - step)) / 4e-3
        # Samples that cross a pixel centre within the step bend: compare the boxes without.
        error = np.abs(on_boxes[:, coordinate] - difference)
        assert np.sum(error < 2e-2) >= 6, error


def test_gradient_of_roi_pool_goes_to_the_maximum():
    image = jnp.asarray(np.random.default_rng(0).permutation(20.0 * np.arange(35)), jnp.float32)
    image, boxes = image.reshape(5, 7, 1), jnp.asarray([[0.0, 0.0, 6.0, 4.0], [9.0, 9.0, 12, 12]])

    def pooled(x):
        got = roi_pool([x], boxes, output=(1, 1), scales=[1.0])[:, 0, 0, 0]
        return got.sum(), got

    (_, got), gradient = jax.jit(jax.value_and_grad(pooled, has_aux=True))(image)
    np.testing.assert_array_equal(got, [680.0, 0.0])
    np.testing.assert_array_equal(gradient, (image == 680).astype(np.float32))


def test_wrong_options_are_named():
    image, boxes = [jnp.zeros((2, 2, 1))], jnp.zeros((1, 4))
    with pytest.raises(ValueError, match="1 feature maps and 2 scales"):
        roi_pool(image, boxes, output=(1, 1), scales=[1.0, 0.5])
    with pytest.raises(ValueError, match="samples is 0"):
        roi_align(image, boxes, output=(1, 1), scales=[1.0], samples=0)
    with pytest.raises(ValueError, match=r"output is \(0, 1\)"):
        roi_align(image, boxes, output=(0, 1), scales=[1.0])


def test_boxes_that_are_not_numbers_do_not_reach_beyond_the_maps():
    image = jnp.ones((6, 6, 3))
    boxes = jnp.asarray([[np.nan, 0, 3, 3], [1, 1, 4, np.inf], [1, 1, 4, 4]])
    found = jax.jit(lambda boxes: roi_align([image], boxes, output=(2, 2), scales=[1.0]))(boxes)
    np.testing.assert_allclose(found[2], 1, rtol=1e-6)  # and the process is still there
