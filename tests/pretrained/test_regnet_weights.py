import parity


def test_regnet_y_400mf_agrees_with_torchvision():
    stages = {"stride2": "stem"}
    stages |= {f"stride{4 * 2**i}": f"trunk_output.block{i + 1}" for i in range(4)}
    parity.check("tv_regnet_y_400mf", "regnet_y_400mf", stages=stages)
