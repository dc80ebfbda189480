"""torchvision's ssd300_vgg16 and ssdlite320_mobilenet_v3_large: weights, heads, detections."""

from pathlib import Path

import detector_images
import jax
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch
from cvjax.pretrained.convert import head_size
from cvjax.tasks.multibox_detection import MultiBoxDetection

GOLDEN = Path(__file__).parents[1] / "golden"
# Their mean and standard deviation of pixels in [0, 1], and their thresholds.
SSD300 = (
    "ssd300_vgg16",
    {"side": 300, "mean": (0.48235, 0.45882, 0.40784), "std": (1 / 255,) * 3},
    {"min_score": 0.01, "nms_iou": 0.45},
)
SSDLITE = (
    "ssdlite320_mobilenet_v3_large",
    {"side": 320, "mean": (0.5,) * 3, "std": (0.5,) * 3},
    {"min_score": 0.001, "nms_iou": 0.55},
)


def golden(name):
    return detector_images.load(GOLDEN / f"torchvision_{name.partition('_')[0]}.npz")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pictures", "thresholds"), [SSD300, SSDLITE])
def test_heads_losses_and_detections_agree_with_torchvision(name, pictures, thresholds):
    spec, want = golden(name)
    sizes = want["sizes"]
    batch = detector_images.batch(spec, sizes, **pictures)
    batch["box_label"] -= 1  # the background is no class of ours
    images = batch.pop("image")
    pixels = detector_images.samples(images.transpose(0, 3, 1, 2), 2048)[::8]
    np.testing.assert_allclose(pixels, want["input"], atol=5e-5 * images.max())
    state = detector_images.state_dict(spec)
    variables = from_torch(name, state, num_classes=90)
    back = to_torch(name, variables, num_classes=90)
    for tensor in state:
        np.testing.assert_array_equal(back[tensor], state[tensor], err_msg=tensor)

    model = create(name, num_classes=90)
    task = MultiBoxDetection(model, candidates=20, max_detections=20, **thresholds)

    # Three default boxes of SSD300 contain an object, which overlaps them alike up to rounding.
    # Theirs claims the first; here the others are made a bit larger.
    untie = np.zeros((8732 if name == SSD300[0] else 3234, 4), np.float32)
    if name == SSD300[0]:
        untie[[8319, 8379]] = [-1e-3, -1e-3, 1e-3, 1e-3]

    def run(variables, images):
        outputs, _ = model.apply(variables, images, train=False)
        losses = task.image_losses({**outputs, "anchors": outputs["anchors"] + untie}, batch)
        return outputs, losses, task.detections(outputs, images.shape[1:3])

    outputs, losses, found = jax.device_get(jax.jit(run)(variables, images))
    rows = want["rows"]
    for field, key in (("class_logits", "logits"), ("box_codes", "codes")):
        ours = np.concatenate([x.reshape(2, -1, x.shape[-1]) for x in outputs[field]], axis=1)
        np.testing.assert_allclose(ours[:, rows], want[key], atol=5e-4, err_msg=field)
    np.testing.assert_allclose(outputs["anchors"][rows], want["anchors"], atol=1e-4)
    class_loss, box_loss, count = (x.sum() for x in losses)
    np.testing.assert_allclose(class_loss / count, want["class_loss"], rtol=1e-4)
    np.testing.assert_allclose(box_loss / count, want["box_loss"], rtol=1e-4)
    scale = detector_images.scales(spec, sizes)
    for i in range(2):
        assert found["detected_valid"][i].all()
        np.testing.assert_allclose(found["detected_score"][i], want[f"scores{i}"], atol=5e-5)
        np.testing.assert_array_equal(found["detected_label"][i] + 1, want[f"labels{i}"])
        ours = found["detected_boxes"][i] / scale[i]
        np.testing.assert_allclose(ours, want[f"boxes{i}"], atol=0.01)


@pytest.mark.parametrize("name", [SSD300[0], SSDLITE[0]])
def test_every_tensor_of_torchvisions_has_a_place_of_its_shape(name):
    spec, _ = golden(name)
    model = create(name, num_classes=90)
    side = model.image_size
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    shapes = dict(jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == spec["params"]
    zeros = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)
    state = to_torch(name, zeros, num_classes=90)
    found = {
        tensor: list(x.shape) for tensor, x in state.items() if not tensor.endswith("_tracked")
    }
    assert found == {tensor: shape for tensor, shape, *_ in spec["state"]}
    assert head_size(name, state, "torchvision") == 90
