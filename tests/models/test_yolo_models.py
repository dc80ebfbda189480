import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from cvjax.models import create
from cvjax.models.detectors.yolo_v2 import _side_by_side


def shapes(name, classes, side, **fields):
    model = create(name, num_classes=classes, **fields)
    x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=False), x)


# 1: also the count of public reimplementations. 2, 3: of the floats in the authors' yolov2.weights
# (203,934,260 bytes) and yolov3.weights (248,007,048) without their headers of 16 and 20 bytes.
@pytest.mark.parametrize(
    ("name", "classes", "side", "parameters", "statistics", "convolutions"),
    [
        ("yolo_v1", 20, 448, 271_703_550, 0, 24),
        ("fast_yolo", 20, 448, 45_089_374, 0, 9),
        ("yolo_v2", 80, 416, 50_962_889, (203_934_260 - 16) // 4 - 50_962_889, 23),
        ("yolo_v3", 80, 416, 61_949_149, (248_007_048 - 20) // 4 - 61_949_149, 75),
    ],
)
def test_parameters_are_the_published_ones(
    name, classes, side, parameters, statistics, convolutions
):
    _, variables = shapes(name, classes, side)
    sizes = {kind: sum(x.size for x in jax.tree.leaves(v)) for kind, v in variables.items()}
    assert sizes["params"] == parameters
    assert sizes.get("batch_stats", 0) == statistics
    kernels = traverse_util.flatten_dict(variables["params"]).items()
    assert sum(p[-1] == "kernel" and len(x.shape) == 4 for p, x in kernels) == convolutions


def test_outputs_are_the_courses_7x7x30_and_13x13x125():
    for name in ("yolo_v1", "fast_yolo"):
        (outputs, _), _ = shapes(name, 20, 448)
        assert outputs["grid"].shape == (2, 7, 7, 30)
    (outputs, _), _ = shapes("yolo_v2", 20, 416, passthrough=0)
    assert [x.shape for x in outputs["grids"]] == [(2, 13, 13, 5, 25)]
    (outputs, features), _ = shapes("yolo_v3", 80, 416)
    assert [x.shape for x in outputs["grids"]] == [(2, s, s, 3, 85) for s in (52, 26, 13)]
    assert [x.shape for x in outputs["anchors"]] == [(3, 2)] * 3
    assert set(features) == {"stride8", "stride16", "stride32"}


def test_passthrough_lays_four_pixels_side_by_side_also_at_an_odd_edge():
    x = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    found = _side_by_side(jnp.asarray(x), (2, 2))
    padded = np.concatenate([x, np.zeros_like(x[:, :1])], axis=1)
    for row in range(2):
        for column in range(2):
            want = padded[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(2, -1)
            np.testing.assert_array_equal(found[:, row, column], want)


def test_any_backbone_goes_and_bfloat16_leaves_outputs_float32():
    small = {"backbone": {"name": "resnet18", "width": 8, "stage_sizes": (1, 1, 1)}, "width": 8}
    fields = {"strides": (8, 16), "anchors": (((8, 9),), ((30, 20), (20, 30)))}
    (outputs, features), _ = shapes("yolo_v3", 3, 72, dtype=jnp.bfloat16, **fields, **small)
    assert [x.shape for x in outputs["grids"]] == [(2, 9, 9, 1, 8), (2, 5, 5, 2, 8)]
    assert {x.dtype for x in outputs["grids"]} == {jnp.dtype("float32")}
    assert {x.dtype for x in features.values()} == {jnp.dtype("bfloat16")}
    (outputs, _), _ = shapes("yolo_v2", 3, 72, strides=(8, 16), **small)
    assert outputs["grids"][0].shape == (2, 5, 5, 5, 8)


def test_another_size_a_missing_map_and_missing_anchors_are_told():
    with pytest.raises(ValueError, match=r"\(64, 64\).*image_size=448"):
        shapes("fast_yolo", 2, 64)
    with pytest.raises(ValueError, match=r"no \['stride64'\]"):
        shapes("yolo_v3", 2, 64, strides=(16, 32, 64))
    with pytest.raises(ValueError, match="3 entries for strides"):
        shapes("yolo_v3", 2, 64, strides=(16, 32))
