"""SSD with VGG-16 and SSDLite with MobileNet v3: torchvision's detection/ssd.py and ssdlite.py,
https://github.com/pytorch/vision.

torchvision counts the background as class 0: its 91 classes are our 90, and its label k is our
k - 1.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax import linen as nn

from cvjax.pretrained import mobilenet_v3, vgg
from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import Layout

SOURCES = ("torchvision",)
_HEADS = {"class": "head.classification_head", "box": "head.regression_head"}
_DENSE = {"dense1": "backbone.extra.0.7.1", "dense2": "backbone.extra.0.7.3"}
_LITE_PARTS = {"reduce": 0, "depthwise": 1, "expand": 2, "conv": 0, "norm": 1}
_VGG_CUT = 23  # the pooling behind conv4_3, where `extra` begins
_TAP = 13  # the block whose inner map is the first that SSDLite uses


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path.startswith("backbone/"):
        inside = path.removeprefix("backbone/")
        if model.lite:
            return _mobilenet_name(mobilenet_v3.torch_name(inside, leaf, model.backbone, source))
        return _vgg_name(vgg.torch_name(inside, leaf, model.backbone, source))
    if path == "first_scale":
        return "backbone.scale_weight"
    if path in _DENSE:
        return tensor_name(_DENSE[path], leaf)
    if extra := re.fullmatch(r"extra(\d+)/conv([12])", path):
        # their first entry is the rest of VGG
        return tensor_name(f"backbone.extra.{extra[1]}.{2 * int(extra[2]) - 2}", leaf)
    if extra := re.fullmatch(r"extra(\d+)/(\w+)/(\w+)", path):
        number, *parts = int(extra[1]) - 1, _LITE_PARTS[extra[2]], _LITE_PARTS[extra[3]]
        return tensor_name(".".join(map(str, ("backbone.extra", number, *parts))), leaf)
    kind, number, depthwise, part = re.fullmatch(
        r"(class|box)_output(\d+)(_depthwise)?(?:/(conv|norm))?", path
    ).groups()
    name = f"{_HEADS[kind]}.module_list.{int(number) - 1}"
    if model.lite:
        name += f".0.{_LITE_PARTS[part]}" if depthwise else ".1"
    return tensor_name(name, leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """MobileNet's gates are 1x1 convolutions there."""
    if model.lite and path.startswith("backbone/"):
        return mobilenet_v3.layout(path, leaf, model.backbone, source)
    return None


def head_size(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> int | None:
    """How many classes the head in `state_dict` has, without the background; None without one."""
    name = torch_name("class_output1", "bias", model, SOURCES[0])
    per_place = 2 + 2 * len(model.aspects[0])
    return np.size(state_dict[name]) // per_place - 1 if name in state_dict else None


def _vgg_name(name: str) -> str:
    """The layers from the fourth pooling on are `extra.0`'s."""
    index, rest = re.fullmatch(r"features\.(\d+)\.(.*)", name).groups()
    if int(index) < _VGG_CUT:
        return f"backbone.{name}"
    return f"backbone.extra.0.{int(index) - _VGG_CUT}.{rest}"


def _mobilenet_name(name: str) -> str:
    """They cut the network in two, behind the first convolution of a block."""
    index, rest = re.fullmatch(r"features\.(\d+)\.(.*)", name).groups()
    index = int(index)
    if index < _TAP:
        return f"backbone.features.0.{index}.{rest}"
    if index > _TAP:
        return f"backbone.features.1.{index - _TAP}.{rest}"
    part, rest = re.fullmatch(r"block\.(\d+)\.(.*)", rest).groups()
    if part == "0":
        return f"backbone.features.0.{_TAP}.{rest}"
    return f"backbone.features.1.0.{part}.{rest}"  # a slice of a sequence keeps its numbers
