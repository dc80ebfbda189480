import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create

SMALL = {
    "backbone": {"name": "resnet18", "width": 8, "stage_sizes": (1, 1, 1)},
    "strides": (4, 8, 16),
    "anchor_sizes": ((16,), (32,), (64,), (128,)),
    "width": 8,
    "hidden": 16,
}


def shapes(model, height, width):
    x = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=False), x)


def second_stage(model, variables, features, proposals=6):
    boxes = jax.ShapeDtypeStruct((2, proposals, 4), jnp.float32)
    apply = lambda v, f, b: model.apply(v, f, b, train=False, method="box_outputs")  # noqa: E731
    return jax.tree.map(jnp.shape, jax.eval_shape(apply, variables, features, boxes))


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_fasterrcnn_resnet50_fpn_has_torchvisions_41808406_parameters():
    model = create("fasterrcnn_resnet50_fpn", num_classes=90)
    (outputs, features), variables = shapes(model, 192, 192)
    assert count(variables) == 41_808_406
    sides = [48, 24, 12, 6, 3]
    assert [x.shape for x in outputs["objectness"]] == [(2, s, s, 3) for s in sides]
    assert [x.shape for x in outputs["box_codes"]] == [(2, s, s, 3, 4) for s in sides]
    assert outputs["anchors"].shape == (3 * sum(s * s for s in sides), 4)
    found = second_stage(model, variables, features)
    assert found == {"class_logits": (2, 6, 91), "box_codes": (2, 6, 91, 4)}


def test_c4_is_resnet50_cut_in_two_with_heads_of_the_papers_sizes():
    model = create("fasterrcnn_resnet50_c4", num_classes=20)
    (outputs, features), variables = shapes(model, 96, 128)
    resnet50 = 25_557_032 - 2_049_000  # without its head
    proposals = 9 * 1024 * 1024 + 1024 + 1024 * 15 * 5 + 15 * 5
    heads = (2048 + 1) * 21 * 5
    assert count(variables) == resnet50 + proposals + heads
    assert [x.shape for x in outputs["objectness"]] == [(2, 6, 8, 15)]
    assert features["level1"].shape == (2, 6, 8, 1024)
    found = second_stage(model, variables, features)
    assert found == {"class_logits": (2, 6, 21), "box_codes": (2, 6, 21, 4)}


def test_any_backbone_goes_and_odd_pictures_too():
    (outputs, features), _ = shapes(
        create("fasterrcnn", num_classes=2, backbone="mobilenet_v2"), 65, 97
    )
    assert features["level1"].shape == (2, 17, 25, 256)
    assert outputs["objectness"][-1].shape == (2, 2, 2, 3)


def test_bfloat16_reaches_the_backbone_and_leaves_outputs_float32():
    model = create("fasterrcnn", num_classes=2, dtype=jnp.bfloat16, **SMALL)
    assert model.backbone.dtype == jnp.bfloat16
    (outputs, features), variables = shapes(model, 64, 64)
    assert features["level1"].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((outputs, variables))} == {jnp.dtype("float32")}


def test_a_missing_map_and_wrong_levels_are_told():
    for change, message in (
        ({"strides": (4, 8, 64)}, "each must be twice"),
        ({"strides": (16, 32, 64)}, r"no \['stride32', 'stride64'\]; it has .*stride8"),
        ({"strides": (4, 8)}, "4 entries for"),
    ):
        with pytest.raises(ValueError, match=message):
            shapes(create("fasterrcnn", num_classes=2, **{**SMALL, **change}), 64, 64)
