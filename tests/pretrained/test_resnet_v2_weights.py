import parity


def test_resnetv2_50_agrees_with_timm():
    stages = {"stride2": "stem.conv", "stride32": "norm"}
    stages |= {f"stride{4 * 2**i}": f"stages.{i}" for i in range(3)}
    parity.check("timm_resnetv2_50", "resnetv2_50", stages=stages)
