"""GoogLeNet: https://github.com/pytorch/vision, googlenet.py.

The released weights see images in [-1, 1], mean 0.5 and deviation 0.5 of [0, 1] (their
`transform_input`); random ones see whatever they get.
"""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import Layout, dense_after_flatten

SOURCES = ("torchvision",)
# Their files hold the auxiliary heads; a model without them leaves those out.
IGNORED = (r"aux[12]\..*",)
_MODULES = {"conv": "conv", "norm": "bn", "hidden": "fc1", "head": "fc2"}
_BRANCHES = {"1_conv1": "1", "2_conv1": "2.0", "2_conv2": "2.1", "3_conv1": "3.0"}
_BRANCHES |= {"3_conv2": "3.1", "4_conv1": "4.1"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path == "head":
        return tensor_name("fc", leaf)
    outer, *inner = path.split("/")
    if block := re.fullmatch(r"stage(\d)_block(\d)", outer):
        stage, number = block.groups()
        branch = _BRANCHES[inner.pop(0).removeprefix("branch")]
        outer = f"inception{stage}{'abcde'[int(number) - 1]}.branch{branch}"
    outer = outer.removeprefix("stem_")
    return tensor_name(".".join([outer, *(_MODULES[name] for name in inner)]), leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The auxiliary heads' first dense layers read flattened 4x4 maps."""
    flattened = re.fullmatch(r"aux\d/hidden", path) and leaf == "kernel"
    return dense_after_flatten(4, 4) if flattened else None
