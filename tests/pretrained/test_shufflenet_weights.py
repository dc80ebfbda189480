import parity


def test_shufflenet_v2_agrees_with_torchvision():
    stages = {"stride2": "conv1", "stride4": "maxpool", "stride8": "stage2", "stride16": "stage3"}
    parity.check(
        "tv_shufflenet_v2_x1_0", "shufflenet_v2_x1_0", stages=stages | {"stride32": "conv5"}
    )
