import parity
import pytest

STAGES = {
    "stride2": "conv2d_2b",
    "stride4": "conv2d_4a",
    "stride8": "repeat",
    "stride16": "repeat_1",
    "stride32": "conv2d_7b",
}


@pytest.mark.slow  # the number of its layers makes it slow to compile
def test_logits_and_features_agree_with_timm():
    parity.check("timm_inception_resnet_v2", "inception_resnet_v2", stages=STAGES)
