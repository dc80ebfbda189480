import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.nn.l2_scale import L2Scale

SMALL = {
    "backbone": {"name": "resnet18", "width": 8, "stage_sizes": (1, 1, 1)},
    "strides": (8, 16),
    "extras": ((4, 8),),
    "scales": (0.1, 0.3, 0.6, 0.9),
    "aspects": ((2,), (2, 3), ()),
}


def shapes(model, side):
    x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=False), x)


def test_ssd512_has_the_papers_24564_default_boxes_on_seven_maps():
    (outputs, features), _ = shapes(create("ssd512_vgg16", num_classes=20), 512)
    sides = [64, 32, 16, 8, 4, 2, 1]
    assert [x.shape[1] for x in features.values()] == sides
    assert outputs["anchors"].shape == (24564, 4)
    boxes = [4, 6, 6, 6, 6, 4, 4]
    assert [x.shape for x in outputs["class_logits"]] == [
        (2, s, s, a, 21) for s, a in zip(sides, boxes)
    ]


def test_any_backbone_goes_with_plain_or_lite_heads_in_bfloat16_too():
    for fields in (
        SMALL,
        {**SMALL, "lite": True},
        {**SMALL, "backbone": "mobilenet_v2", "dense_width": 16, "first_scale": 20.0},
    ):
        model = create("ssd", num_classes=2, dtype=jnp.bfloat16, **fields)
        (outputs, features), variables = shapes(model, 64)
        assert [x.shape[1:4] for x in outputs["box_codes"]] == [(8, 8, 4), (4, 4, 6), (2, 2, 2)]
        assert features["level3"].dtype == jnp.bfloat16
        assert {x.dtype for x in jax.tree.leaves((outputs, variables))} == {jnp.dtype("float32")}


def test_wrong_sizes_levels_and_maps_are_told():
    with pytest.raises(ValueError, match=r"images are 64x64\. Set data.image_size=300"):
        shapes(create("ssd300_vgg16", num_classes=2), 64)
    with pytest.raises(ValueError, match=r"3 levels .* 2 entries of aspects"):
        shapes(create("ssd", num_classes=2, **{**SMALL, "aspects": ((2,), (2,))}), 64)
    with pytest.raises(ValueError, match="the backbone has no stride8_expanded"):
        shapes(create("ssd", num_classes=2, first_map="expansion", **SMALL), 64)


def test_scaled_vectors_have_the_scales_length_and_zeros_a_finite_gradient():
    x = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
    scale = np.array([10.0, 20.0], np.float32)

    def scaled(x):
        return L2Scale().apply({"params": {"scale": scale}}, x)

    np.testing.assert_allclose(scaled(x), [[6.0, -16.0], [0.0, 0.0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: scaled(x).sum())(x)).all()
