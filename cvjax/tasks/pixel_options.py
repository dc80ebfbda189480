"""What every model of pixels is asked before it is trained."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn


def check_image_shape(model: nn.Module, info: Any) -> None:
    """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

    Raises:
        ValueError: if image shapes, or the number of classes that the model is given, disagree.
    """
    if info.image_shape is not None and tuple(info.image_shape) != tuple(model.image_shape):
        raise ValueError(
            f"model.image_shape: got {tuple(model.image_shape)}, but images of {info.name} are "
            f"{tuple(info.image_shape)}. Set model.image_shape, or data.image_size and "
            "data.channels."
        )
    given = getattr(model, "condition_classes", 0)
    if given and info.num_classes is not None and given != info.num_classes:
        raise ValueError(
            f"model.condition_classes: got {given}, but {info.name} has {info.num_classes} classes."
        )


def pixel_option_problems(model: nn.Module, binarize: str) -> Iterator[str]:
    """Where a model's likelihood and the images it is given do not go together, a line each."""
    if binarize not in ("none", "threshold", "dynamic"):
        yield f"task.binarize: got {binarize!r}, expected none, threshold or dynamic."
    binary, likelihood = binarize in ("threshold", "dynamic"), model.likelihood
    if likelihood == "bernoulli" and not binary:
        yield (
            "task.binarize: got 'none', but model.likelihood='bernoulli' is a probability of "
            "binary pixels alone. Use dynamic or threshold, or another likelihood."
        )
    if likelihood != "bernoulli" and binary:
        yield (
            f"task.binarize: got {binarize!r}, but model.likelihood={likelihood!r} is of "
            f"{model.levels} levels. Use none, or likelihood='bernoulli'."
        )
