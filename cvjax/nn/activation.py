"""Nonlinearities by name, for models that take theirs as a field."""

from collections.abc import Callable
from typing import Literal

import jax
from flax import linen as nn
from jaxtyping import Array

Activation = Literal["identity", "relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]

# Leaky ReLU's slope is 0.01, ELU's alpha 1, GELU exact (by erf), as PyTorch's defaults.
ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": nn.silu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
}
