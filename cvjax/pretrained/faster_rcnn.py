"""Faster R-CNN with a ResNet and a pyramid: torchvision's detection/faster_rcnn.py,
https://github.com/pytorch/vision.

torchvision counts the background as class 0: its 91 classes are our 90, and its label k is our
k - 1. It runs its published COCO_V1 weights with batch normalisation's epsilon at 0, where ours is
1e-5.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax import linen as nn

from cvjax.models.detectors.faster_rcnn import FasterRCNN
from cvjax.pretrained import resnet, retinanet
from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import Layout, dense_after_flatten

SOURCES = ("torchvision",)
_PARTS = {
    "proposal_head/conv": "rpn.head.conv.0.0",
    "proposal_head/objectness": "rpn.head.cls_logits",
    "proposal_head/box_codes": "rpn.head.bbox_pred",
    "fc1": "roi_heads.box_head.fc6",
    "fc2": "roi_heads.box_head.fc7",
    "box_head/class_logits": "roi_heads.box_predictor.cls_score",
    "box_head/box_codes": "roi_heads.box_predictor.bbox_pred",
}
_PYRAMID = {"lateral": "inner_blocks", "output": "layer_blocks"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array.

    Raises:
        ValueError: for the variant without a pyramid, which they lack.
    """
    if not isinstance(model, FasterRCNN):
        raise ValueError(f"{source} has no weights for {type(model).__name__}")
    if path.startswith("backbone/"):
        inside = path.removeprefix("backbone/")
        return f"backbone.body.{resnet.torch_name(inside, leaf, model.backbone, source)}"
    if path in _PARTS:
        return tensor_name(_PARTS[path], leaf)
    part, number = re.fullmatch(r"pyramid/([a-z]+)(\d+)", path).groups()
    return tensor_name(f"backbone.fpn.{_PYRAMID[part]}.{int(number) - 1}.0", leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The first dense layer reads a region's flattened map."""
    if (path, leaf) == ("fc1", "kernel"):
        return dense_after_flatten(model.roi_size, model.roi_size)
    return None


def head_size(state_dict: Mapping[str, np.ndarray], model: nn.Module) -> int | None:
    """How many classes the head in `state_dict` has, without the background; None without one."""
    bias = state_dict.get(f"{_PARTS['box_head/class_logits']}.bias")
    return None if bias is None else np.size(bias) - 1


def current_names(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torchvision's files of before 0.14 have no inner sequences."""
    renamed = retinanet.current_names(state_dict)
    return {re.sub(r"^rpn\.head\.conv\.(?=\w+$)", "rpn.head.conv.0.0.", k): v
            for k, v in renamed.items()}  # fmt: skip
