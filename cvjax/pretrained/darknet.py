"""Darknet-53: https://github.com/huggingface/pytorch-image-models, cspnet.py.

Its weights are trained with PyTorch's slope of the leaky ReLU, create(..., negative_slope=0.01).
"""

import re

from flax import linen as nn

from cvjax.models.classifiers.darknet import Darknet53
from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm",)
FIELDS = {"negative_slope": 0.01}
_OUTSIDE = {"stem/conv": "stem.conv1.conv", "stem/norm": "stem.conv1.bn", "head": "head.fc"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array.

    Raises:
        ValueError: for Darknet-19, which they lack.
    """
    if not isinstance(model, Darknet53):
        raise ValueError(f"{source} has no weights for {type(model).__name__}")
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    stage, module = re.fullmatch(r"stage(\d+)_(.+)", path).groups()
    module = module.replace("down", "conv_down").replace("/", ".").replace("norm", "bn")
    module = re.sub(r"block(\d+)", lambda m: f"blocks.{int(m[1]) - 1}", module)
    return tensor_name(f"stages.{int(stage) - 1}.{module}", leaf)
