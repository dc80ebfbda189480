"""MobileNet v1: timm's efficientnet.py, https://github.com/huggingface/pytorch-image-models."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm",)
_OUTSIDE = {"stem/conv": "conv_stem", "stem/norm": "bn1", "head": "classifier"}
_INSIDE = {
    "depthwise/conv": "conv_dw",
    "depthwise/norm": "bn1",
    "pointwise/conv": "conv_pw",
    "pointwise/norm": "bn2",
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    stage, block, layer = re.fullmatch(r"stage(\d+)_block(\d+)/(\w+/\w+)", path).groups()
    return tensor_name(f"blocks.{int(stage) - 1}.{int(block) - 1}.{_INSIDE[layer]}", leaf)
