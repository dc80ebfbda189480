"""VGG-11 to 19: https://github.com/pytorch/vision, vgg.py. Column C has no public weights there."""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import Layout, dense_after_flatten

SOURCES = ("torchvision",)
# The dense layers have no place in a model with hidden=None; in every other they are required.
IGNORED = (r"classifier\.[036]\.(weight|bias)",)
_DENSE = {"hidden1": "classifier.0", "hidden2": "classifier.3", "head": "classifier.6"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array: one sequence of convolutions, (norms,) ReLUs and poolings."""
    if path in _DENSE:
        return tensor_name(_DENSE[path], leaf)
    stage, kind, layer = re.fullmatch(r"stage(\d+)_(conv|norm)(\d+)", path).groups()
    stage, layer = int(stage) - 1, int(layer) - 1
    layers = sum(model.stage_sizes[:stage]) + layer
    index = layers * (3 if model.batch_norm else 2) + stage
    return tensor_name(f"features.{index + (kind == 'norm')}", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The first dense layer reads the flattened map."""
    return dense_after_flatten(7, 7) if (path, leaf) == ("hidden1", "kernel") else None
