import parity
import pytest

# The last map is read behind its activation, where torchvision has no module.
STAGES = {"stride2": "features.relu0"}
STAGES |= {f"stride{4 * 2**i}": f"features.denseblock{i + 1}" for i in range(3)}


def test_densenet121_agrees_with_torchvision():
    parity.check("tv_densenet121", "densenet121", stages=STAGES)


@pytest.mark.slow
def test_densenet201_agrees_with_torchvision():
    parity.check("tv_densenet201", "densenet201", stages=STAGES)
