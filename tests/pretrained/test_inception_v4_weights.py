import parity

STAGES = {
    "stride2": "features.2",
    "stride4": "features.4",
    "stride8": "features.9",
    "stride16": "features.17",
    "stride32": "features.21",
}


def test_logits_and_features_agree_with_timm():
    parity.check("timm_inception_v4", "inception_v4", stages=STAGES)
