import parity
import pytest


def test_mobilenet_v2_agrees_with_torchvision():
    stages = {"stride2": 1, "stride4": 3, "stride8": 6, "stride16": 13, "stride32": 18}
    stages = {ours: f"features.{i}" for ours, i in stages.items()}
    parity.check("tv_mobilenet_v2", "mobilenet_v2", stages=stages)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "strides"),
    [("large", (1, 3, 6, 12, 16)), ("small", (0, 1, 3, 8, 12))],
)
def test_mobilenet_v3_agrees_with_torchvision(name, strides):
    stages = {f"stride{2 ** (i + 1)}": f"features.{j}" for i, j in enumerate(strides)}
    parity.check(f"tv_mobilenet_v3_{name}", f"mobilenet_v3_{name}", stages=stages)


def test_mobilenet_v1_agrees_with_timm():
    stages = {f"stride{2 ** (i + 1)}": f"blocks.{i}" for i in range(5)}
    parity.check("timm_mobilenetv1_100", "mobilenetv1_100", stages=stages)
