"""AlexNet: https://github.com/pytorch/vision, alexnet.py. The two towers they lack."""

from flax import linen as nn

from cvjax.models.classifiers.alexnet import AlexNet
from cvjax.pretrained.convert import tensor_name
from cvjax.pretrained.layouts import Layout, dense_after_flatten

SOURCES = ("torchvision",)
_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "hidden1": "classifier.1",
    "hidden2": "classifier.4",
    "head": "classifier.6",
}


def torch_name(path: str, leaf: str, model: nn.Module, source: str) -> str:
    """Their name of our array.

    Raises:
        ValueError: for the network of 2012, which they lack.
    """
    if not isinstance(model, AlexNet):
        raise ValueError(f"{source} has no weights for {type(model).__name__}")
    return tensor_name(_NAMES[path], leaf)


def layout(path: str, leaf: str, model: nn.Module, source: str) -> Layout | None:
    """The first dense layer reads the flattened map."""
    return dense_after_flatten(6, 6) if (path, leaf) == ("hidden1", "kernel") else None
