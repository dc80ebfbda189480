"""SqueezeNet 1.0 and 1.1: https://github.com/pytorch/vision, squeezenet.py."""

import itertools
import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)
_OUTSIDE = {"stem_conv": "features.0", "head": "classifier.1"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array: stem, ReLU, then poolings and fire modules in one sequence."""
    inside = re.fullmatch(r"fire(\d+)/(\w+)", path)
    if inside is None:
        return tensor_name(_OUTSIDE[path], leaf)
    before = int(inside[1]) - 2  # fire modules
    pools = sum(before >= n for n in itertools.accumulate(model.stage_sizes)) + 1
    return tensor_name(f"features.{2 + before + pools}.{inside[2]}", leaf)
