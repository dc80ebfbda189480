"""timm's resnetv2.py, https://github.com/huggingface/pytorch-image-models."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import DENSE_AS_CONV, Layout

SOURCES = ("timm",)
_OUTSIDE = {"stem_conv": "stem.conv", "final_norm": "norm", "head": "head.fc"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    inside = re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", path)
    if inside is None:
        return tensor_name(_OUTSIDE[path], leaf)
    stage, block, module = inside.groups()
    module = module.replace("shortcut_conv", "downsample.conv")
    return tensor_name(f"stages.{int(stage) - 1}.blocks.{int(block) - 1}.{module}", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The head is a 1x1 convolution there."""
    return DENSE_AS_CONV if path == "head" and leaf == "kernel" else None
