"""timm's senet.py (`legacy_*`), https://github.com/huggingface/pytorch-image-models."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import DENSE_AS_CONV, Layout

SOURCES = ("timm",)
_GATE = {"reduce": "se_module.fc1", "expand": "se_module.fc2"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return tensor_name("last_linear", leaf)
    if stem := re.fullmatch(r"stem(\d?)/(conv|norm)", path):
        number, part = stem.groups()
        return tensor_name(f"layer0.{_torch_part(part)}{number or 1}", leaf)
    stage, block, module, part = re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)/(\w+)", path).groups()
    if module == "squeeze_excite":
        inner = _GATE[part]
    elif module == "shortcut":
        inner = f"downsample.{('conv', 'norm').index(part)}"
    else:
        inner = f"{_torch_part(part)}{module.removeprefix('conv')}"
    return tensor_name(f"layer{stage}.{int(block) - 1}.{inner}", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The gates' dense layers are 1x1 convolutions there."""
    return DENSE_AS_CONV if "squeeze_excite/" in path and leaf == "kernel" else None


def _torch_part(part: str) -> str:
    return {"conv": "conv", "norm": "bn"}[part]
