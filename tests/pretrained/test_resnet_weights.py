import parity
import pytest

STAGES = {f"stride{4 * 2**i}": f"layer{i + 1}" for i in range(4)}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "depth", [18, 34, 50, *(pytest.param(deep, marks=pytest.mark.slow) for deep in (101, 152))]
)
def test_logits_and_features_agree_with_torchvision(depth):
    parity.check(f"tv_resnet{depth}", f"resnet{depth}", stages={"stride2": "relu", **STAGES})


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["resnext50_32x4d", "wide_resnet50_2"])
def test_wider_bottlenecks_agree_with_torchvision(name):
    parity.check(f"tv_{name}", name, stages={"stride2": "relu", **STAGES})


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["resnet50d", "seresnet50", "wide_resnet50_2"])
def test_logits_and_features_agree_with_timm(name):
    parity.check(
        f"timm_{name}", name, stages={"stride2": "act1", **STAGES, "pooled": "global_pool"}
    )
