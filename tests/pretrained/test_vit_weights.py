import jax
import named_weights
import numpy as np
import parity
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch


def with_tokens(features):
    """The class token and the patches in one row, as after timm's and torchvision's last norm."""
    patches = features["stride16"]
    patches = patches.reshape(len(patches), -1, patches.shape[-1])
    return {**features, "tokens": np.concatenate([features["pooled"][:, None], patches], 1)}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_patch16_224",
        pytest.param("deit_small_patch16_224", marks=pytest.mark.slow),
        "deit3_small_patch16_224",
    ],
)
def test_logits_and_tokens_agree_with_timm(name):
    stages = {"tokens": "norm", "pooled": "fc_norm"}
    parity.check(f"timm_{name}", name, stages=stages, to_reference=with_tokens)


def test_both_heads_of_a_distilled_net_agree_with_timm():
    parity.check(
        "timm_deit_tiny_distilled_patch16_224", "deit_tiny_distilled_patch16_224", stages={}
    )


@pytest.mark.slow
def test_logits_and_tokens_agree_with_torchvision():
    stages = {"tokens": "encoder.ln"}
    parity.check("tv_vit_b_16", "vit_b_16", stages=stages, to_reference=with_tokens)


def tiny_state(source, model_name="vit_tiny_patch16_224", **fields):
    fields = {"width": 8, "depth": 2, "image_size": 32, **fields}
    model = create(model_name, num_classes=3, **fields)
    x = np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32), shapes)
    return variables, to_torch(model_name, variables, source, num_classes=3, **fields), fields


def test_torchvisions_names_are_the_goldens():
    _, state, _ = tiny_state("torchvision")
    golden = named_weights.load("tv_vit_b_16").state
    assert set(state) == {
        n for n in golden if "layer_" not in n or "layer_0" in n or "layer_1." in n
    }


def test_older_files_of_torchvision_are_renamed():
    variables, state, fields = tiny_state("torchvision")
    older = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for name, value in state.items()
    }
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in older
    again = from_torch("vit_tiny_patch16_224", older, "torchvision", num_classes=3, **fields)
    jax.tree.map(np.testing.assert_array_equal, again, dict(variables))


def test_what_torchvision_does_not_have_is_refused_by_name():
    with pytest.raises(ValueError, match="nothing like params/distillation_token"):
        tiny_state("torchvision", distilled=True)
