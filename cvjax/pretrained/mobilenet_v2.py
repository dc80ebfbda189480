"""MobileNet v2: torchvision's mobilenetv2.py, https://github.com/pytorch/vision."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return tensor_name("classifier.1", leaf)
    *block, layer, part = path.split("/")
    part = {"conv": 0, "norm": 1}[part]
    if not block:
        index = {"stem": 0, "last": 1 + sum(model.stage_sizes)}[layer]
        return tensor_name(f"features.{index}.{part}", leaf)
    stage, number = map(int, re.findall(r"\d+", block[0]))
    index = sum(model.stage_sizes[: stage - 1]) + number
    # A block that expands nothing has one convolution less.
    first = 0 if model.expansions[stage - 1] == 1 else 1
    place = {"expand": f"0.{part}", "depthwise": f"{first}.{part}", "project": first + 1 + part}
    return tensor_name(f"features.{index}.conv.{place[layer]}", leaf)
