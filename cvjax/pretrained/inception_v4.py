"""Inception v4: timm, https://github.com/huggingface/pytorch-image-models, inception_v4.py."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm",)
_STEM = {f"stem_conv{i}": i - 1 for i in (1, 2, 3)} | {f"stem_block{i}": i + 2 for i in (1, 2, 3)}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return tensor_name("last_linear", leaf)
    outer, *middle, inner = path.split("/")
    parts = [f"features.{_index(outer, model)}", *(_branch(outer, name) for name in middle)]
    return tensor_name(".".join([*parts, inner.replace("norm", "bn")]), leaf)


def _index(outer: str, model: nn.Module) -> int:
    """Their modules are counted through."""
    if outer in _STEM:
        return _STEM[outer]
    kind, i, j = re.fullmatch(r"(stage|reduction)(\d)(?:_block(\d+))?", outer).groups()
    before = int(i) if kind == "reduction" else int(i) - 1
    # As many reductions as stages lie before a stage; before a reduction, one less.
    reductions = before - (kind == "reduction")
    return len(_STEM) + sum(model.stage_sizes[:before]) + reductions + int(j or 1) - 1


def _branch(outer: str, name: str) -> str:
    branch, number = re.fullmatch(r"branch(\d)_conv(\w+)", name).groups()
    if outer in ("stem_block1", "stem_block3"):
        return "conv"
    theirs = f"branch{int(branch) - 1}"
    alone = outer.startswith("stage") or outer == "reduction1"
    if branch == "1" and alone:
        return theirs
    if branch == "4":  # behind a pool
        return f"{theirs}.{number}"
    separator = "_" if outer.startswith("stage3") else "."
    return f"{theirs}{separator}{int(number[0]) - 1}{number[1:]}"
