"""DropConnect (Wan et al. 2013, "Regularization of neural networks using DropConnect")."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class DropConnectDense(nn.Module):
    """A dense layer that loses a share `rate` of its connections, weights and not units.

    In training every example has a mask of its own over weights and biases, by the stream
    "dropout" (algorithm 1), and what stays is divided by 1 - rate. So a layer with d inputs and k
    units holds a [B, d, k] mask: it is for the few dense layers at a network's end. With
    `deterministic`, and at rate 0, it is a dense layer with the same parameters.

    Differs from the paper: evaluation takes the mean of the pre-activations, not samples of the
    Gaussian that matches their mean and variance.

    Raises:
        ValueError: if `rate` is not in [0, 1).
    """

    features: int
    rate: float
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, deterministic: bool) -> Float[Array, "b k"]:
        if not 0 <= self.rate < 1:
            raise ValueError(f"the rate of DropConnect is {self.rate}, expected 0 to below 1")
        inputs = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = (part.astype(self.dtype) for part in (x, kernel, bias))
        if deterministic or self.rate == 0:
            return x @ kernel + bias[None, :]
        weight_rng, bias_rng = jax.random.split(self.make_rng("dropout"))
        kept = 1 - self.rate
        mask = jax.random.bernoulli(weight_rng, kept, (len(x), *kernel.shape))
        y = jnp.einsum("bd,bdk->bk", x, mask * kernel[None])
        bias_mask = jax.random.bernoulli(bias_rng, kept, (len(x), self.features))
        return (y + bias_mask * bias[None, :]) / jnp.asarray(kept, self.dtype)
