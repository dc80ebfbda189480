import named_weights
import parity

from cvjax.pretrained import from_torch

STAGES = {
    "stride2": "Conv2d_2b_3x3",
    "stride4": "Conv2d_4a_3x3",
    "stride8": "Mixed_5d",
    "stride16": "Mixed_6e",
    "stride32": "Mixed_7c",
}


def test_logits_auxiliary_logits_and_features_agree_with_torchvision():
    outputs = {"aux1_logits": "AuxLogits"}
    parity.check("tv_inception_v3", "inception_v3", stages=STAGES, outputs=outputs, aux_heads=True)


def test_auxiliary_head_is_left_out_of_a_model_without_it():
    state = named_weights.load("tv_inception_v3").state
    params = from_torch("inception_v3", state)["params"]
    assert "aux1" not in params
    assert params["head"]["kernel"].shape == (2048, 1000)
