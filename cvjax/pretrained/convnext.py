"""ConvNeXt: https://github.com/pytorch/vision, convnext.py."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import Layout

SOURCES = ("torchvision",)
_OUTSIDE = {
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "norm": "classifier.0",
    "head": "classifier.2",
}
_BLOCK = {"conv": "block.0", "norm": "block.2", "mlp/fc1": "block.3", "mlp/fc2": "block.5"}
# [C, 1, 1] <-> [C]: one factor a channel of maps that have their channels first
_PER_CHANNEL = Layout(lambda x: x[:, 0, 0], lambda x: x[:, None, None])


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    stage, block, module = re.fullmatch(r"stage(\d+)_(?:block(\d+)/?)?(.*)", path).groups()
    if block is None:  # the reduction before a stage
        return tensor_name(f"features.{2 * int(stage) - 2}.{['norm', 'conv'].index(module)}", leaf)
    prefix = f"features.{2 * int(stage) - 1}.{int(block) - 1}"
    return tensor_name(f"{prefix}.{_BLOCK[module]}" if module else prefix, leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """Where an array does not lie naturally."""
    return _PER_CHANNEL if leaf == "layer_scale" else None
