"""MnasNet: torchvision's mnasnet.py, https://github.com/pytorch/vision."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)
_OUTSIDE = {"stem": 0, "stem_block/depthwise": 3, "stem_block/project": 6, "last": 14}
_INSIDE = {"expand": 0, "depthwise": 3, "project": 6}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array. They count layers, nonlinearities too."""
    if path == "head":
        return tensor_name("classifier.1", leaf)
    layer, _, part = path.rpartition("/")
    norm = int(part == "norm")
    if layer in _OUTSIDE:
        return tensor_name(f"layers.{_OUTSIDE[layer] + norm}", leaf)
    stage, number, layer = re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", layer).groups()
    block = f"layers.{int(stage) + 7}.{int(number) - 1}"
    return tensor_name(f"{block}.layers.{_INSIDE[layer] + norm}", leaf)
