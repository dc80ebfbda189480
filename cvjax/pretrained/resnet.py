"""ResNets and what was made of them: torchvision's resnet.py, https://github.com/pytorch/vision,
and timm's resnet.py, https://github.com/huggingface/pytorch-image-models, which names them alike.
"""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import DENSE_AS_CONV, Layout

SOURCES = ("torchvision", "timm")
_OUTSIDE = {
    "stem_conv": "conv1",
    "stem_norm": "bn1",
    # the deep stem: a sequence but for its last normalisation
    "stem_conv1": "conv1.0",
    "stem_norm1": "conv1.1",
    "stem_conv2": "conv1.3",
    "stem_norm2": "conv1.4",
    "stem_conv3": "conv1.6",
    "stem_norm3": "bn1",
    "head": "fc",
}
_SQUEEZE = {"squeeze_excite/reduce": "se.fc1", "squeeze_excite/expand": "se.fc2"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    inside = re.fullmatch(r"stage(\d+)_block(\d+)/(.+)", path)
    if inside is None:
        return tensor_name(_OUTSIDE[path], leaf)
    stage, block, module = inside.groups()
    pool = 1 if model.shortcut == "pool" else 0  # the pool, or nothing, comes first
    shortcut = {"shortcut_conv": f"downsample.{pool}", "shortcut_norm": f"downsample.{pool + 1}"}
    module = {**_SQUEEZE, **shortcut}.get(module, module.replace("norm", "bn"))
    return tensor_name(f"layer{stage}.{int(block) - 1}.{module}", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The gates' dense layers are 1x1 convolutions there."""
    return DENSE_AS_CONV if "squeeze_excite/" in path and leaf == "kernel" else None
