"""torchvision's fasterrcnn_resnet50_fpn: weights, both stages, losses and detections."""

import re
from pathlib import Path

import detector_images
import jax
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch
from cvjax.pretrained.convert import head_size
from cvjax.tasks.two_stage_detection import TwoStageDetection

GOLDEN = Path(__file__).parents[1] / "golden" / "torchvision_faster_rcnn.npz"
NAME = "fasterrcnn_resnet50_fpn"


@pytest.mark.slow
def test_both_stages_losses_and_detections_agree_with_torchvision():
    spec, want = detector_images.load(GOLDEN)
    sizes = want["sizes"]
    batch = detector_images.batch(spec, sizes)
    batch["box_label"] -= 1  # the background is no class of ours
    state = detector_images.state_dict(spec)
    variables = from_torch(NAME, state, num_classes=90)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == spec["params"]
    back = to_torch(NAME, variables, num_classes=90)
    learned = {name for name in back if not name.endswith("num_batches_tracked")}
    assert learned == set(state)
    for name in learned:
        np.testing.assert_array_equal(back[name], state[name], err_msg=name)

    model = create(NAME, num_classes=90)
    everything = 100_000
    task = TwoStageDetection(
        model,
        train_candidates=60,
        candidates=60,
        train_proposals=40,
        proposals=40,
        rpn_samples=everything,
        roi_samples=everything,
        max_detections=12,
    )

    def run(variables, batch, extent):
        image, key = batch["image"], jax.random.key(0)
        outputs, features = model.apply(variables, image, train=False)
        boxes, valid = task.find_proposals(outputs, extent, train=False)

        def second(boxes):
            return model.apply(variables, features, boxes, train=False, method="box_outputs")

        later = second(boxes)
        found = task.detections(later, boxes, valid, extent)
        targets = task.sample_regions(boxes, valid, batch, key)
        losses = [
            *task.proposal_losses(outputs, batch, key),
            *task.region_losses(second(targets["boxes"]), targets),
        ]
        return outputs, boxes, later, found, [x.sum() / count.sum() for x, count in losses]

    found = jax.device_get(jax.jit(run)(variables, batch, sizes.astype(np.float32)))
    outputs, boxes, later, found, losses = found
    for i in range(5):
        for name, key, channels in (("objectness", "objectness", 3), ("box_codes", "deltas", 12)):
            ours = outputs[name][i]
            ours = ours.reshape(*ours.shape[:3], channels).transpose(0, 3, 1, 2)
            theirs = want[f"{key}{i}"].ravel()
            np.testing.assert_allclose(
                detector_images.samples(ours, theirs.size), theirs, atol=1e-4, err_msg=f"{name}{i}"
            )
    np.testing.assert_allclose(boxes, want["proposals"], atol=0.01)
    logits = later["class_logits"].reshape(80, 91)[::2]
    np.testing.assert_allclose(logits, want["class_logits"], atol=2e-4)
    codes = detector_images.samples(later["box_codes"], want["box_codes"].size)
    np.testing.assert_allclose(codes, want["box_codes"], atol=2e-4)
    names = ("objectness", "rpn_box_reg", "classifier", "box_reg")
    np.testing.assert_allclose(losses, [want[f"loss_{name}"] for name in names], rtol=1e-4)
    scale = detector_images.scales(spec, sizes)
    for i in range(2):
        assert found["detected_valid"][i].all()
        np.testing.assert_array_equal(found["detected_label"][i] + 1, want[f"labels{i}"])
        np.testing.assert_allclose(found["detected_score"][i], want[f"scores{i}"], atol=1e-5)
        ours = found["detected_boxes"][i] / scale[i]
        np.testing.assert_allclose(ours, want[f"boxes{i}"], atol=0.01)


def test_files_of_before_version_0_14_are_read_and_their_classes_counted():
    fields = {"backbone": {"name": "resnet18", "width": 8}, "width": 8, "hidden": 8}
    model = create(NAME, num_classes=2, **fields)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32), train=False)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), dict(shapes))
    new = to_torch(NAME, variables, num_classes=2, **fields)
    old = {re.sub(r"(rpn.head.conv|_blocks\.\d)(\.0)+", r"\1", name): x for name, x in new.items()}
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.inner_blocks.2.weight" in old
    read = from_torch(NAME, old, num_classes=2, **fields)
    jax.tree.map(np.testing.assert_array_equal, read, variables)
    assert head_size(NAME, old, "torchvision", **fields) == 2


def test_the_variant_without_a_pyramid_has_no_weights_there():
    with pytest.raises(ValueError, match="no weights for FasterRCNNC4"):
        from_torch("fasterrcnn_resnet50_c4", {}, num_classes=2)
