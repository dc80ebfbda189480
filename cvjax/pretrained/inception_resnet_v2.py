"""Inception-ResNet v2: timm, https://github.com/huggingface/pytorch-image-models."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm",)
_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
_OUTSIDE = {f"stem/conv{i}": name for i, name in enumerate(_STEM, start=1)}
_OUTSIDE |= {"final_conv": "conv2d_7b", "head": "classif"}
_MIXED = {"stem_mix": "mixed_5b", "reduction1": "mixed_6a", "reduction2": "mixed_7a"}
_STAGES = {"1": "repeat", "2": "repeat_1", "3": "repeat_2"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    outer, inner = path.rsplit("/", 1)
    inner = inner.replace("norm", "bn")
    if outer in _OUTSIDE:
        return tensor_name(f"{_OUTSIDE[outer]}.{inner}", leaf)
    module, *rest = path.split("/")
    theirs = _MIXED.get(module) or _block(module, model)
    if rest == ["project"]:
        return tensor_name(f"{theirs}.conv2d", leaf)
    branch, number = re.fullmatch(r"branch(\d)_conv(\d)", outer.rpartition("/")[2]).groups()
    theirs += f".branch{int(branch) - 1}"
    if branch == "4":  # behind a pool
        theirs += f".{number}"
    elif branch != "1" or module == "reduction2":
        theirs += f".{int(number) - 1}"
    return tensor_name(f"{theirs}.{inner}", leaf)


def _block(module: str, model: nn.Module) -> str:
    """Their last block, which has no ReLU, has a name of its own."""
    stage, number = re.fullmatch(r"stage(\d)_block(\d+)", module).groups()
    if stage == "3" and int(number) == model.stage_sizes[2]:
        return "block8"
    return f"{_STAGES[stage]}.{int(number) - 1}"
