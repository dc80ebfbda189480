import json
import pathlib

import numpy as np
import pytest

from cvjax.ops.anchors import default_boxes, grid_anchors

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torchvision_anchors.npz")
CASES = {case["id"]: case for case in json.loads(str(GOLDEN["cases"]))}
GRIDS = [name for name in CASES if name.startswith("AnchorGenerator")]
DEFAULTS = [name for name in CASES if name.startswith("DefaultBox")]
SSD300 = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
SSD300_ASPECTS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]


def shapes(options):
    return tuple(options["image"]), [tuple(shape) for shape in options["features"]]


@pytest.mark.parametrize("name", GRIDS)
def test_grid_anchors_agree_with_torchvision(name):
    options = CASES[name]["args"]
    got = grid_anchors(*shapes(options), sizes=options["sizes"], aspects=options["aspect_ratios"])
    np.testing.assert_array_equal(got, GOLDEN[f"{name}/anchors"])


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_boxes_agree_with_torchvision(name):
    options = CASES[name]["args"]
    scales = options.get("scales")
    if scales is None:
        low, high, levels = options["min_ratio"], options["max_ratio"], len(options["features"])
        scales = [*np.linspace(low, high, levels).tolist(), 1.0]
    got = default_boxes(
        *shapes(options),
        scales=scales,
        aspects=options["aspect_ratios"],
        steps=options.get("steps"),
        clip=options.get("clip", True),
    )
    # Pixels up to 336, in float32: torchvision rounds each step.
    np.testing.assert_allclose(got, GOLDEN[f"{name}/anchors"], rtol=0, atol=1e-4)


def test_ssd300_has_8732_default_boxes():
    features = [(side, side) for side in (38, 19, 10, 5, 3, 1)]
    boxes = default_boxes((300, 300), features, scales=SSD300, aspects=SSD300_ASPECTS)
    assert boxes.shape == (8732, 4)


def test_levels_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="features 2, sizes 1, aspects 2"):
        grid_anchors((8, 8), [(4, 4), (2, 2)], sizes=[[4]], aspects=[[1], [1]])
    with pytest.raises(ValueError, match="larger than the image"):
        grid_anchors((8, 8), [(16, 16)], sizes=[[4]], aspects=[[1]])
