"""Inception v3: https://github.com/pytorch/vision, inception.py.

The released weights see images in [-1, 1], mean 0.5 and deviation 0.5 of [0, 1] (their
`transform_input`); random ones see whatever they get.
"""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)
# Their files hold the auxiliary head; a model without it leaves that out.
IGNORED = (r"AuxLogits\..*",)
_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_OUTSIDE = {f"stem/conv{i}": name for i, name in enumerate(_STEM, start=1)}
_OUTSIDE |= {"aux1/conv1": "AuxLogits.conv0", "aux1/conv2": "AuxLogits.conv1"}
_OUTSIDE |= {"aux1/head": "AuxLogits.fc", "head": "fc"}
# The block -> their name, and what they call its branches of several convolutions.
_LETTERS = {"stage1": "5bcd", "reduction1": "6a", "stage2": "6bcde", "reduction2": "7a"}
_LETTERS |= {"stage3": "7bc"}
_BRANCHES = {
    "stage1": ("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool"),
    "reduction1": ("branch3x3", "branch3x3dbl"),
    "stage2": ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool"),
    "reduction2": ("branch3x3", "branch7x7x3"),
    "stage3": ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool"),
}
_ALONE = {("reduction1", 1), *((f"stage{i}", j) for i in (1, 2, 3) for j in (1, 4))}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    outer, inner = path.rsplit("/", 1)
    inner = inner.replace("norm", "bn")
    if outer in _OUTSIDE:
        return tensor_name(f"{_OUTSIDE[outer]}.{inner}", leaf)
    pattern = r"(\w+?\d)(?:_block(\d))?/branch(\d)_conv(\w+)"
    group, block, branch, number = re.fullmatch(pattern, outer).groups()
    letters = _LETTERS[group]
    mixed = f"Mixed_{letters[0]}{letters[int(block or 1)]}"
    name = _BRANCHES[group][int(branch) - 1]
    if (group, int(branch)) not in _ALONE:
        name = f"{name}_{number}"
    return tensor_name(f"{mixed}.{name}.{inner}", leaf)
