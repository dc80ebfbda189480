"""Normalisation layers whose statistics agree with PyTorch's."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.ops.batch_norm import batch_normalized, normalized
from cvjax.ops.layer_norm import layer_normalized


class BatchNorm(nn.Module):
    """`x` normalised per channel, the last axis (Ioffe & Szegedy 2015, algorithm 1).

    In training by the batch's mean and biased variance, else by running ones. The running
    variance takes the unbiased variance, as PyTorch's does (`flax.linen.BatchNorm` takes the
    biased one), and `momentum` is the share of the old value that stays (PyTorch's is 1 - that).
    Under jit the batch is the global one, on however many devices it lies. Statistics are
    float32 and the variance is the mean squared distance from the mean, because the difference
    of two large moments loses the digits that matter.

    Raises:
        ValueError: in training on one value per channel, which has no unbiased variance.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b c"], *, use_running_average: bool
    ) -> Float[Array, "*b c"]:
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", self.bias_init, (channels,), jnp.float32)
        # Weights that were read from a file are NumPy's until somebody puts them on a device.
        scale, bias = jnp.asarray(scale), jnp.asarray(bias)

        # Initialising looks at shapes only: neither the batch nor its size matters.
        if use_running_average or self.is_initializing():
            mean, var = jnp.asarray(running_mean.value), jnp.asarray(running_var.value)
            return normalized(x, mean, var, scale, bias, self.epsilon).astype(self.dtype)
        bessel = unbiasing(self, x)
        y, mean, var = batch_normalized(x, scale, bias, self.epsilon)
        keep, take = self.momentum, 1 - self.momentum
        running_mean.value = keep * running_mean.value + take * mean
        running_var.value = keep * running_var.value + take * bessel * var
        return y.astype(self.dtype)


class LayerNorm(nn.Module):
    """`x` normalised over the channels, the last axis, of every place (Ba et al. 2016).

    The parameters and results of `flax.linen.LayerNorm` with `use_fast_variance=False`: float32
    statistics of squared distances from the mean.
    """

    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        y = layer_normalized(x, jnp.asarray(scale), jnp.asarray(bias), self.epsilon)
        return y.astype(self.dtype)


def unbiasing(norm: nn.Module, x: Array) -> float:
    """What makes the biased variance of `x` per channel unbiased, for the layer `norm`.

    Raises:
        ValueError: on one value per channel, naming the layer.
    """
    count = x.size // x.shape[-1]
    if count < 2:
        raise ValueError(
            f"{norm.scope.path_text if norm.scope else type(norm).__name__} sees one value per "
            f"channel (input {x.shape}); training needs a larger batch or image"
        )
    return count / (count - 1)
