"""torchvision's retinanet_resnet50_fpn: weights, heads, losses and detections."""

import math
from pathlib import Path

import detector_images
import jax
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch
from cvjax.pretrained.convert import head_size
from cvjax.tasks.detection import Detection

GOLDEN = Path(__file__).parents[1] / "golden" / "torchvision_retinanet.npz"
NAME = "retinanet_resnet50_fpn"


@pytest.mark.slow
def test_heads_losses_and_detections_agree_with_torchvision():
    spec, want = detector_images.load(GOLDEN)
    sizes = want["sizes"]
    batch = detector_images.batch(spec, sizes)
    images = batch.pop("image")
    pixels = detector_images.samples(images.transpose(0, 3, 1, 2), 2048)[::8]
    np.testing.assert_allclose(pixels, want["input"], atol=5e-5)
    state = detector_images.state_dict(spec)
    variables = from_torch(NAME, state, num_classes=91)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == spec["params"]
    back = to_torch(NAME, variables, num_classes=91)
    learned = {name for name in back if not name.endswith("num_batches_tracked")}
    assert learned == set(state)
    for name in learned:
        np.testing.assert_array_equal(back[name], state[name], err_msg=name)

    model = create(NAME, num_classes=91)
    task = Detection(model, smooth_l1_beta=0.0, candidates=60, max_detections=20)

    def run(variables, images):
        outputs, _ = model.apply(variables, images, train=False)
        losses = task.image_losses(outputs, batch)
        return outputs, losses, task.detections(outputs, sizes.astype(np.float32))

    outputs, losses, found = jax.device_get(jax.jit(run)(variables, images))
    rows = want["rows"]
    scale = detector_images.scales(spec, sizes)
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
