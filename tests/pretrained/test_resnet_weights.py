import parity
import pytest

STAGES = {f"stride{4 * 2**i}": f"layer{i + 1}" for i in range(4)}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_logits_and_features_agree_with_torchvision(depth):
    parity.check(f"tv_resnet{depth}", f"resnet{depth}", stages=STAGES)
