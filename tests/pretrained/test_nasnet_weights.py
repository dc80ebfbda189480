import parity
import pytest


@pytest.mark.slow
def test_nasnet_large_agrees_with_timm():
    stages = {
        "stride2": "conv0",
        "stride4": "cell_stem_0",
        "stride8": "cell_5",
        "stride16": "cell_11",
        "stride32": "act",
    }
    parity.check("timm_nasnetalarge", "nasnetalarge", stages=stages)
