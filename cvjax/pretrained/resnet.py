"""ResNet-18 to 152: https://github.com/pytorch/vision, resnet.py; timm names them alike."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision", "timm")
_OUTSIDE = {"stem_conv": "conv1", "stem_norm": "bn1", "head": "fc"}
_SHORTCUT = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    inside = re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", path)
    if inside is None:
        return tensor_name(_OUTSIDE[path], leaf)
    stage, block, module = inside.groups()
    module = _SHORTCUT.get(module, module.replace("norm", "bn"))
    return tensor_name(f"layer{stage}.{int(block) - 1}.{module}", leaf)
