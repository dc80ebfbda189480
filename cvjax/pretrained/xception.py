"""Xception: timm's legacy_xception, https://github.com/huggingface/pytorch-image-models."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm",)
_OUTSIDE = {"stem_conv1/conv": "conv1", "stem_conv1/norm": "bn1", "head": "fc"}
_OUTSIDE |= {"stem_conv2/conv": "conv2", "stem_conv2/norm": "bn2"}
_OUTSIDE |= {"final_norm1": "bn3", "final_norm2": "bn4"}
_FACTORS = {"depthwise": "conv1", "pointwise": "pointwise"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    if final := re.fullmatch(r"final_conv(\d)/(\w+)", path):
        return tensor_name(f"conv{int(final[1]) + 2}.{_FACTORS[final[2]]}", leaf)
    stage, number, inner = re.fullmatch(r"stage(\d)_block(\d+)/(.+)", path).groups()
    # Their blocks are counted through; block1 lacks the first ReLU, and the layers of a block are
    # ReLU, convolution, norm in turns.
    block = sum(model.stage_sizes[: int(stage) - 1]) + int(number)
    if inner.startswith("shortcut_"):
        inner = {"shortcut_conv": "skip", "shortcut_norm": "skipbn"}[inner]
    else:
        kind, layer, factor = re.fullmatch(r"(conv|norm)(\d)/?(\w*)", inner).groups()
        index = 3 * (int(layer) - 1) + (block > 1) + (kind == "norm")
        inner = f"rep.{index}" + (f".{_FACTORS[factor]}" if factor else "")
    return tensor_name(f"block{block}.{inner}", leaf)
