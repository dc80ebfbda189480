"""Nonlinearities by name, for models that take theirs as a field."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.ops.gelu import gelu

Activation = Literal[
    "identity", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"
]
# Those with parameters of their own besides; `activate` takes all of them.
AnyActivation = Literal[
    "identity", "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"
]

# Leaky ReLU's slope is 0.01, ELU's alpha 1, GELU exact (by erf), as PyTorch's defaults.
ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "gelu": gelu,
    "silu": nn.silu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
}
SATURATING = ("identity", "tanh", "sigmoid")


def activate(
    x: Float[Array, "*b c"], kind: AnyActivation, *, name: str, negative_slope: float = 0.01
) -> Float[Array, "*b c"]:
    """The nonlinearity `kind` of `x`; one that learns is a submodule `name` of the caller.

    `negative_slope` is Leaky ReLU's (Maas et al. 2013 have 0.01; 0.001 is often taught).
    """
    if kind == "prelu":
        return PReLU(name=name)(x)
    if kind == "leaky_relu":
        return nn.leaky_relu(x, negative_slope)
    return ACTIVATIONS[kind](x)


def initial_weights(kind: str) -> nn.initializers.Initializer:
    """The initialiser under which layers with this nonlinearity keep the variance of their input.

    He et al. 2015 for the ReLU kind, Glorot & Bengio 2010 where it is odd or saturates, and
    variance 1 / fan_in for SELU (Klambauer et al. 2017, section 3).
    """
    if kind in SATURATING:
        return nn.initializers.glorot_normal()
    if kind == "selu":
        # Not `lecun_normal`: that cuts the tails off, and the proof wants a Gaussian.
        return nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    return nn.initializers.he_normal()


class PReLU(nn.Module):
    """x where it is positive, else slope * x, with a learnt slope per channel.

    (He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.1, which starts at 0.25 and
    leaves the slopes out of weight decay: `optim.decay_exempt=(".*/slope",)`.) `shared`: one slope
    for all channels.
    """

    initial_slope: float = 0.25
    shared: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        init = nn.initializers.constant(self.initial_slope)
        slopes = 1 if self.shared else x.shape[-1]
        slope = self.param("slope", init, (slopes,), jnp.float32)
        slope = slope.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        return jnp.where(x >= 0, x, slope * x)
