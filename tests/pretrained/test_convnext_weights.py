import parity

STAGES = {f"stride{4 * 2**i}": f"features.{2 * i + 1}" for i in range(4)}


def test_logits_and_features_agree_with_torchvision():
    stages = {**STAGES, "pooled": "classifier.1"}
    parity.check("tv_convnext_tiny", "convnext_tiny", stages=stages)
