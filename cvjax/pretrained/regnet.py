"""torchvision's regnet.py, https://github.com/pytorch/vision."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import DENSE_AS_CONV, Layout

SOURCES = ("torchvision",)
_MODULES = {
    "conv1": "f.a",
    "conv2": "f.b",
    "conv3": "f.c",
    "shortcut": "proj",
    "squeeze_excite": "f.se",
}
_PARTS = {"conv": "0", "norm": "1", "reduce": "fc1", "expand": "fc2"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return tensor_name("fc", leaf)
    outer, *inner, part = path.split("/")
    if outer == "stem":
        return tensor_name(f"stem.{_PARTS[part]}", leaf)
    stage, block = re.fullmatch(r"stage(\d+)_block(\d+)", outer).groups()
    block = f"trunk_output.block{stage}.block{stage}-{int(block) - 1}"
    return tensor_name(f"{block}.{_MODULES[inner[0]]}.{_PARTS[part]}", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The gates' dense layers are 1x1 convolutions there."""
    return DENSE_AS_CONV if "squeeze_excite/" in path and leaf == "kernel" else None
