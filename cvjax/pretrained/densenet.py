"""DenseNet-121 to 201: torchvision's densenet.py, https://github.com/pytorch/vision; timm names
them alike.
"""

import re

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
