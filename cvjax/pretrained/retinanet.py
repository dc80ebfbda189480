"""RetinaNet with a ResNet: torchvision's detection/retinanet.py, https://github.com/pytorch/vision.

torchvision runs its published COCO_V1 weights with batch normalisation's epsilon at 0, where ours
is 1e-5.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax import linen as nn

from cvjax.pretrained import resnet
from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision",)
_PARTS = {
    "pyramid/lateral": "backbone.fpn.inner_blocks.{}.0",
    "pyramid/output": "backbone.fpn.layer_blocks.{}.0",
    "class_tower/conv": "head.classification_head.conv.{}.0",
    "class_tower/norm": "head.classification_head.conv.{}.1",
    "box_tower/conv": "head.regression_head.conv.{}.0",
    "box_tower/norm": "head.regression_head.conv.{}.1",
}
_OUTPUTS = {
    "class_output": "head.classification_head.cls_logits",
    "box_output": "head.regression_head.bbox_reg",
}
_FIRST_EXTRA = 6  # P6 follows C5's P5


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path.startswith("backbone/"):
        inside = path.removeprefix("backbone/")
        return f"backbone.body.{resnet.torch_name(inside, leaf, model.backbone, source)}"
    if path in _OUTPUTS:
        return tensor_name(_OUTPUTS[path], leaf)
    part, number = re.fullmatch(r"(.+?)(\d+)", path).groups()
    if part == "pyramid/extra":
        return tensor_name(f"backbone.fpn.extra_blocks.p{_FIRST_EXTRA - 1 + int(number)}", leaf)
    return tensor_name(_PARTS[part].format(int(number) - 1), leaf)


def head_size(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> int | None:
    """How many classes the head in `state_dict` has; None if it has no head."""
    bias = state_dict.get(f"{_OUTPUTS['class_output']}.bias")
    per_place = model.octave_scales * len(model.aspects)
    return None if bias is None else np.size(bias) // per_place


def current_names(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torchvision's files of before 0.14 count the towers' ReLUs and have no inner sequences."""
    found = {}
    for name, value in state_dict.items():
        if tower := re.fullmatch(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)", name):
            start, number, leaf = tower.groups()
            name = f"{start}.{int(number) // 2}.0.{leaf}"
        elif pyramid := re.fullmatch(r"(.*fpn\.\w+er_blocks\.\d+)\.(weight|bias)", name):
            name = f"{pyramid[1]}.0.{pyramid[2]}"
        found[name] = value
    return found
