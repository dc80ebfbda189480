"""NASNet-A large: timm's nasnet.py, https://github.com/huggingface/pytorch-image-models."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("timm",)
_OUTSIDE = {"stem_conv": "conv0.conv", "stem_norm": "conv0.bn", "head": "last_linear"}
_INPUTS = {
    "current/conv": "conv_1x1.conv",
    "current/norm": "conv_1x1.bn",
    "previous/conv": "conv_prev_1x1.conv",
    "previous/norm": "conv_prev_1x1.bn",
    "previous/even": "path_1.conv",
    "previous/odd": "path_2.conv",
}
_SEPARABLE = {
    "depthwise": "separable_{}.depthwise_conv2d",
    "pointwise": "separable_{}.pointwise_conv2d",
    "norm": "bn_sep_{}",
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    cell, inside = path.split("/", 1)
    shrinks = cell == "stem_cell2" or re.fullmatch(r"stage\d+_cell1", cell)
    if inside == "previous/norm" and shrinks:
        inside = "final_path_bn"
    elif inside in _INPUTS:
        inside = _INPUTS[inside]
    else:
        pattern = r"sum(\d)_(left|right)/([a-z]+)(\d)"
        number, side, layer, turn = re.fullmatch(pattern, inside).groups()
        inside = f"comb_iter_{int(number) - 1}_{side}.{_SEPARABLE[layer].format(turn)}"
    return tensor_name(f"{_cell(cell, model)}.{inside}", leaf)


def _cell(name: str, model: nn.Module) -> str:
    if name.startswith("stem"):
        return f"cell_stem_{int(name[-1]) - 1}"
    stage, number = re.fullmatch(r"stage(\d+)_(?:cell(\d+)|reduction)", name).groups()
    if number is None:
        return f"reduction_cell_{int(stage) - 2}"
    return f"cell_{sum(model.stage_sizes[: int(stage) - 1]) + int(number) - 1}"
