import parity


def test_mnasnet_agrees_with_torchvision():
    layers = {"stride2": 7, "stride4": 8, "stride8": 9, "stride16": 11, "stride32": 16}
    stages = {ours: f"layers.{i}" for ours, i in layers.items()}
    parity.check("tv_mnasnet1_0", "mnasnet1_0", stages=stages)
