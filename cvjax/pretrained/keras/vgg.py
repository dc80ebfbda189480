"""VGG-16 and VGG-19 of keras.applications, with top (`fc1`, `fc2`, `predictions`) or without.

Without: `num_classes=None, hidden=None`. Its images are BGR in [0, 255] minus
(103.939, 116.779, 123.68), which is for whoever calls the model.
"""

import re

from flax import linen as nn

SOURCES = ("keras",)
# The dense layers have no place in a model with hidden=None; in every other they are required.
IGNORED = (r"(fc1|fc2|predictions)/(kernel|bias)",)
_DENSE = {"hidden1": "fc1", "hidden2": "fc2", "head": "predictions"}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array."""
    layer = _DENSE.get(path) or re.sub(r"stage(\d)_conv(\d)", r"block\1_conv\2", path)
    return f"{layer}/{leaf}"
