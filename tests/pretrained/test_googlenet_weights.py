import named_weights
import parity

from cvjax.pretrained import from_torch

STAGES = {
    "stride2": "conv1",
    "stride4": "conv3",
    "stride8": "inception3b",
    "stride16": "inception4e",
    "stride32": "inception5b",
}


def test_logits_auxiliary_logits_and_features_agree_with_torchvision():
    outputs = {"aux1_logits": "aux1", "aux2_logits": "aux2"}
    parity.check("tv_googlenet", "googlenet", stages=STAGES, outputs=outputs, aux_heads=True)


def test_auxiliary_heads_are_left_out_of_a_model_without_them():
    state = named_weights.load("tv_googlenet").state
    whole = from_torch("googlenet", state, aux_heads=True)["params"]
    bare = from_torch("googlenet", state)["params"]
    assert set(whole) - set(bare) == {"aux1", "aux2"}
