import parity

STAGES = {
    "stride2": "act2",
    "stride4": "block1",
    "stride8": "block2",
    "stride16": "block11",
    "stride32": "act4",
    "pooled": "global_pool",
}


def test_logits_and_features_agree_with_timm():
    parity.check("timm_legacy_xception", "xception", stages=STAGES)
