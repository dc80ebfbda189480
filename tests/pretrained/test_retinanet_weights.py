"""torchvision's retinanet_resnet50_fpn: weights, heads, losses and detections.

The golden holds outputs on two pictures of different sizes, as torchvision resizes them (the
shorter side to 128, the longer to at most 192) and pads them with zeros.
"""

import functools
import json
import math
from pathlib import Path

import jax
import named_weights
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch
from cvjax.pretrained.convert import head_size
from cvjax.tasks.detection import Detection

GOLDEN = Path(__file__).parents[1] / "golden" / "torchvision_retinanet.npz"
NAME, SIDE = "retinanet_resnet50_fpn", 192


@functools.cache
def golden():
    arrays = dict(np.load(GOLDEN))
    return json.loads(str(arrays.pop("spec"))), arrays


def state_dict(spec):
    state = {name: named_weights.tensor(name, shape, *log2) for name, shape, *log2 in spec["state"]}
    assert named_weights.checksum(state) == spec["state_crc32"]
    return state


def resized(image, height, width):
    """Bilinear between pixel centres, no antialiasing."""
    for axis, size in enumerate((height, width)):
        old = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, None)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def padded_images(spec, sizes):
    images = np.zeros((2, SIDE, SIDE, 3), np.float32)
    for i, (shape, (height, width)) in enumerate(zip(spec["shapes"], sizes)):
        image = (named_weights.image([1, *shape], f"input{i}")[0].astype(np.float64) + 1) / 2
        image = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        images[i, :height, :width] = resized(image, height, width)
    return images


@pytest.mark.slow
def test_heads_losses_and_detections_agree_with_torchvision():
    spec, want = golden()
    sizes = want["sizes"]
    images = padded_images(spec, sizes)
    flat = images.transpose(0, 3, 1, 2).ravel()
    np.testing.assert_allclose(
        flat[(np.arange(2048) * flat.size) // 2048][::8], want["input"], atol=5e-5
    )
    state = state_dict(spec)
    variables = from_torch(NAME, state, num_classes=91)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == spec["params"]
    back = to_torch(NAME, variables, num_classes=91)
    learned = {name for name in back if not name.endswith("num_batches_tracked")}
    assert learned == set(state)
    for name in learned:
        np.testing.assert_array_equal(back[name], state[name], err_msg=name)

    model = create(NAME, num_classes=91)
    boxes = np.zeros((2, 3, 4), np.float32)
    label, valid = np.zeros((2, 3), np.int32), np.zeros((2, 3), bool)
    scale = [
        [new / old for new, old in zip(s, shape[1:])] for s, shape in zip(sizes, spec["shapes"])
    ]
    scale = np.array(scale)[:, [1, 0, 1, 0]]  # [B, 4]
    for i, target in enumerate(spec["targets"]):
        count = len(target["labels"])
        boxes[i, :count] = target["boxes"] * scale[i]
        label[i, :count], valid[i, :count] = target["labels"], True
    batch = {"boxes": boxes, "box_label": label, "box_valid": valid}
    task = Detection(model, smooth_l1_beta=0.0, candidates=60, max_detections=20)

    def run(variables, images):
        outputs, _ = model.apply(variables, images, train=False)
        losses = task.image_losses(outputs, batch)
        return outputs, losses, task.detections(outputs, sizes.astype(np.float32))

    outputs, losses, found = jax.device_get(jax.jit(run)(variables, images))
    rows = want["rows"]
    for name, key in (("class_logits", "logits"), ("box_codes", "codes")):
        ours = np.concatenate([x.reshape(2, -1, x.shape[-1]) for x in outputs[name]], axis=1)
        np.testing.assert_allclose(ours[:, rows], want[key], atol=1e-4, err_msg=name)
    np.testing.assert_array_equal(outputs["anchors"][rows], want["anchors"])
    np.testing.assert_allclose(losses[0].mean(), want["class_loss"], rtol=1e-4)
    np.testing.assert_allclose(losses[1].mean(), want["box_loss"], rtol=1e-4)
    for i in range(2):
        assert found["detected_valid"][i].all()
        np.testing.assert_allclose(found["detected_score"][i], want[f"scores{i}"], atol=1e-5)
        np.testing.assert_array_equal(found["detected_label"][i], want[f"labels{i}"])
        ours = found["detected_boxes"][i] / scale[i]
        np.testing.assert_allclose(ours, want[f"boxes{i}"], atol=0.01)


def test_files_of_before_version_0_14_are_read_and_their_classes_counted():
    fields = {"num_classes": 2, "backbone": {"name": "resnet18", "width": 8}, "width": 8}
    model = create(NAME, **fields)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32), train=False)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), dict(shapes))
    new = to_torch(NAME, variables, **fields)
    old = {}
    for name, value in new.items():
        parts = name.split(".")
        if "conv" in parts:  # head.*_head.conv.i.0.weight
            parts[3:5] = [str(2 * int(parts[3]))]
        elif "inner_blocks" in parts or "layer_blocks" in parts:
            del parts[4]
        old[".".join(parts)] = value
    assert "head.regression_head.conv.6.bias" in old
    assert "backbone.fpn.inner_blocks.2.weight" in old
    read = from_torch(NAME, old, **fields)
    jax.tree.map(np.testing.assert_array_equal, read, variables)
    del fields["num_classes"]
    assert head_size(NAME, old, "torchvision", **fields) == 2
    assert math.prod(old["head.classification_head.cls_logits.bias"].shape) == 18
