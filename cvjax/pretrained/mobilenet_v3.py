"""MobileNet v3: torchvision's mobilenetv3.py, https://github.com/pytorch/vision."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import DENSE_AS_CONV, Layout

SOURCES = ("torchvision",)
_DENSE = {"hidden_dense": "classifier.0", "head": "classifier.3"}
_GATE = {"reduce": "fc1", "expand": "fc2"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _DENSE:
        return tensor_name(_DENSE[path], leaf)
    *block, layer, part = path.split("/")
    if not block:
        index = {"stem": 0, "last": 1 + sum(model.stage_sizes)}[layer]
        return tensor_name(f"features.{index}.{_part(part)}", leaf)
    stage, number = map(int, re.findall(r"\d+", block[0]))
    index = sum(model.stage_sizes[: stage - 1]) + number
    first = 0 if index == 1 else 1  # only the first block expands nothing
    if layer == "squeeze_excite":
        return tensor_name(f"features.{index}.block.{first + 1}.{_GATE[part]}", leaf)
    last = first + 1 + int(model.gated[stage - 1])
    place = {"expand": 0, "depthwise": first, "project": last}[layer]
    return tensor_name(f"features.{index}.block.{place}.{_part(part)}", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """Their gates are 1x1 convolutions."""
    return DENSE_AS_CONV if "squeeze_excite" in path and leaf == "kernel" else None


def _part(name: str) -> int:
    return {"conv": 0, "norm": 1}[name]
