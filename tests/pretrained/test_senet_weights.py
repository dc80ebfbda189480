import parity
import pytest

STAGES = {"stride2": "layer0", "pooled": "global_pool"}
STAGES |= {f"stride{4 * 2**i}": f"layer{i + 1}" for i in range(4)}


def test_legacy_seresnet50_agrees_with_timm():
    parity.check("timm_legacy_seresnet50", "legacy_seresnet50", stages=STAGES)


@pytest.mark.slow
def test_senet154_agrees_with_timm():
    parity.check("timm_legacy_senet154", "senet154", stages=STAGES)
