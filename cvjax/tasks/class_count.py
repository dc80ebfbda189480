"""Whether the model and the data agree on how many classes there are."""

from typing import Any

import flax.linen as nn


def check_class_count(model: nn.Module, info: Any) -> None:
    """Compares `model.num_classes` with the data's `info` (`cvjax.data.source.SourceInfo`).

    Raises:
        ValueError: if both are known and disagree.
    """
    classes = model.num_classes
    if info.num_classes is not None and classes != info.num_classes:
        raise ValueError(
            f"model.num_classes: got {classes}, but {info.name} has {info.num_classes} "
            f"classes. Set model.num_classes={info.num_classes} or choose other data."
        )
