"""What a model's variables are before training."""

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array


def fresh_variables(model: nn.Module, rng: Array, *inputs: Any) -> dict[str, Any]:
    """{"params": ...} and whatever other collections `model` keeps, called with `inputs`.

    In training mode: parts that only training uses must get their parameters too.
    """
    params_rng, dropout_rng = jax.random.split(rng)
    rngs = {"params": params_rng, "dropout": dropout_rng}
    return dict(model.init(rngs, *inputs, train=True))
