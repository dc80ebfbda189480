"""Swin transformers, first version: https://github.com/pytorch/vision, swin_transformer.py."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)
IGNORED = (r"features\..*\.relative_position_index",)  # computed from the window's size
_OUTSIDE = {
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.2",
    "norm": "norm",
    "head": "head",
}
_BLOCK = {
    "attention/qkv": "attn.qkv",
    "attention/proj": "attn.proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp/fc1": "mlp.0",
    "mlp/fc2": "mlp.3",
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    merging = re.fullmatch(r"stage(\d+)_merging/(\w+)", path)
    if merging:
        return tensor_name(f"features.{2 * int(merging[1]) - 2}.{merging[2]}", leaf)
    stage, block, module = re.fullmatch(r"stage(\d+)_block(\d+)/?(.*)", path).groups()
    prefix = f"features.{2 * int(stage) - 1}.{int(block) - 1}"
    if not module:
        return f"{prefix}.attn.relative_position_bias_table"
    return tensor_name(f"{prefix}.{_BLOCK[module]}", leaf)
