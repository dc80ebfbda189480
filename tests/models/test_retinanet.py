import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create, list_models
from cvjax.nn.feature_pyramid import enlarge_nearest

SMALL = {
    "backbone": {"name": "resnet18", "width": 8, "stage_sizes": (1, 1, 1)},
    "strides": (8, 16),
    "extra_levels": 1,
    "anchor_sizes": (16, 32, 64),
    "width": 8,
    "tower_depth": 1,
}


def shapes(model, height, width):
    x = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=False), x)


def test_retinanet_resnet50_fpn_has_torchvisions_34068119_parameters():
    (outputs, _), variables = shapes(create("retinanet_resnet50_fpn", num_classes=91), 192, 192)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 34_068_119
    sides = [24, 12, 6, 3, 2]
    assert [x.shape for x in outputs["class_logits"]] == [(2, s, s, 9, 91) for s in sides]
    assert [x.shape for x in outputs["box_codes"]] == [(2, s, s, 9, 4) for s in sides]
    assert outputs["anchors"].shape == (9 * sum(s * s for s in sides), 4)


def test_any_backbone_goes_and_odd_pictures_too():
    for backbone in ("mobilenet_v2", "resnet18"):
        (outputs, features), _ = shapes(
            create("retinanet", num_classes=2, backbone=backbone), 65, 97
        )
        assert features["level1"].shape == (2, 9, 13, 256)
        assert outputs["class_logits"][-1].shape == (2, 1, 1, 9, 2)


def test_bfloat16_reaches_the_backbone_and_leaves_outputs_float32():
    model = create("retinanet", num_classes=2, dtype=jnp.bfloat16, **SMALL)
    assert model.backbone.dtype == jnp.bfloat16
    (outputs, features), variables = shapes(model, 64, 64)
    assert features["level1"].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((outputs, variables))} == {jnp.dtype("float32")}


def test_a_missing_map_and_a_wrong_number_of_sizes_are_told():
    with pytest.raises(ValueError, match=r"no \['stride64'\]; it has .*stride8"):
        shapes(create("retinanet", num_classes=2, **{**SMALL, "strides": (8, 64)}), 64, 64)
    with pytest.raises(ValueError, match="2 entries for 3 levels"):
        shapes(create("retinanet", num_classes=2, **{**SMALL, "anchor_sizes": (8, 16)}), 64, 64)
    with pytest.raises(ValueError, match="Did you mean 'resnet"):
        create("retinanet", num_classes=2, backbone="resnet5O")


def test_models_are_listed_by_kind():
    assert "retinanet" in list_models(kind="detectors")
    assert not set(list_models(kind="classifiers")) & set(list_models(kind="detectors"))


@pytest.mark.parametrize(("old", "new"), [((2, 3), (4, 6)), ((3, 4), (5, 7))])
def test_nearest_enlargement_shows_the_place_that_floor_says(old, new):
    x = np.arange(np.prod(old), dtype=np.float32).reshape(1, *old, 1)
    found = enlarge_nearest(jnp.asarray(x), new)
    want = [[x[0, i * old[0] // new[0], j * old[1] // new[1], 0] for j in range(new[1])]
            for i in range(new[0])]  # fmt: skip
    np.testing.assert_array_equal(found[0, :, :, 0], want)
