"""ResNet-50, 101 and 152 of keras.applications, with top (`predictions`) or without.

Without: `num_classes=None`. The images are BGR in [0, 255] minus (103.939, 116.779, 123.68), which
is for whoever calls the model. Names are those of the files since Keras Applications 1.0.8.
"""

import re

from flax import linen as nn

SOURCES = ("keras",)
_LAYERS = {"conv1": "1", "conv2": "2", "conv3": "3", "shortcut": "0"}
_LEAVES = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return f"predictions/{leaf}"
    layer, kind = path.rsplit("/", 1)
    if layer == "stem":
        theirs = "conv1"
    else:
        stage, block, part = re.fullmatch(r"stage(\d)_block(\d+)/(\w+)", layer).groups()
        theirs = f"conv{int(stage) + 1}_block{block}_{_LAYERS[part]}"
    if kind == "conv":
        return f"{theirs}_conv/{leaf}"
    return f"{theirs}_bn/{_LEAVES.get(leaf, 'beta')}"
