"""DenseNet-121 to 201: torchvision's densenet.py, https://github.com/pytorch/vision; timm names
them alike.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax import linen as nn

from cvjax.pretrained.convert import tensor_name

SOURCES = ("torchvision", "timm")
_OUTSIDE = {
    "stem_conv": "features.conv0",
    "stem_norm": "features.norm0",
    "final_norm": "features.norm5",
    "head": "classifier",
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    if path in _OUTSIDE:
        return tensor_name(_OUTSIDE[path], leaf)
    path = re.sub(r"^stage(\d+)_layer(\d+)/", r"denseblock\1.denselayer\2/", path)
    return tensor_name(f"features.{path.replace('/', '.')}", leaf)


def current_names(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torchvision's published files say `denselayer1.norm.1` where it now says `norm1`."""
    older = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")
    return {older.sub(r"\1\2", name): value for name, value in state_dict.items()}
