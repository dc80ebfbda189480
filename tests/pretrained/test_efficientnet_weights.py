import parity
import pytest

STAGES = {"stride2": 1, "stride4": 2, "stride8": 3, "stride16": 5}


def test_b0_agrees_with_torchvision():
    stages = {ours: f"features.{i}" for ours, i in STAGES.items()}
    parity.check(
        "tv_efficientnet_b0", "efficientnet_b0", stages=stages | {"stride32": "features.8"}
    )


def test_b0_of_tensorflow_agrees_with_timm():
    stages = {ours: f"blocks.{i - 1}" for ours, i in STAGES.items()}
    parity.check(
        "timm_tf_efficientnet_b0", "tf_efficientnet_b0", stages=stages | {"stride32": "bn2"}
    )


@pytest.mark.slow
def test_v2_s_agrees_with_torchvision():
    stages = {ours: f"features.{i}" for ours, i in STAGES.items()}
    parity.check(
        "tv_efficientnet_v2_s", "efficientnet_v2_s", stages=stages | {"stride32": "features.7"}
    )
