"""ShuffleNet v2: torchvision's shufflenetv2.py, https://github.com/pytorch/vision."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)
_OUTSIDE = {"stem": "conv1", "last": "conv5"}
# (branch, index of its convolution); the norm is the next one
_INSIDE = {
    "shortcut_depthwise": ("branch1", 0),
    "shortcut_pointwise": ("branch1", 2),
    "reduce": ("branch2", 0),
    "depthwise": ("branch2", 3),
    "project": ("branch2", 5),
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return tensor_name("fc", leaf)
    layer, _, part = path.rpartition("/")
    norm = int(part == "norm")
    if layer in _OUTSIDE:
        return tensor_name(f"{_OUTSIDE[layer]}.{norm}", leaf)
    stage, unit, layer = re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", layer).groups()
    branch, index = _INSIDE[layer]
    return tensor_name(f"stage{int(stage) + 1}.{int(unit) - 1}.{branch}.{index + norm}", leaf)
