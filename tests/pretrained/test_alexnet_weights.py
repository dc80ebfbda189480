import parity
import pytest

from cvjax.pretrained import from_torch

STAGES = {
    "stride4": "features.1",
    "stride8": "features.4",
    "stride16": "features.11",
    "stride32": "features.12",
    "pooled": "classifier.5",
}


def test_logits_and_features_agree_with_torchvision():
    parity.check("tv_alexnet", "alexnet", stages=STAGES)


def test_two_towers_have_no_weights_there():
    with pytest.raises(ValueError, match="no weights for OriginalAlexNet"):
        from_torch("alexnet_original", {})
