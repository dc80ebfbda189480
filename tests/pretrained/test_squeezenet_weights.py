import parity
import pytest

STAGES = {"squeezenet1_0": (1, 5, 10, 12), "squeezenet1_1": (1, 4, 7, 12)}


@pytest.mark.parametrize("name", STAGES)
def test_logits_and_features_agree_with_torchvision(name):
    stages = {f"stride{2 * 2**i}": f"features.{n}" for i, n in enumerate(STAGES[name])}
    parity.check(f"tv_{name}", name, stages=stages)
