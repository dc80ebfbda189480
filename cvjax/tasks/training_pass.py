"""A method of a model as training calls it, for tasks whose model has several."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jaxtyping import Array


def training_pass(
    model: nn.Module,
    variables: Mapping[str, Any],
    method: str,
    *inputs: Any,
    rngs: Mapping[str, Array],
) -> tuple[Array, dict[str, Any]]:
    """(output, the collections that changed) of a method of the model in training."""
    collections = [name for name in variables if name != "params"]
    output, mutated = model.apply(
        variables, *inputs, train=True, rngs=rngs, mutable=collections, method=method
    )
    return output, dict(mutated)
