"""Batch renormalisation (Ioffe 2017, https://arxiv.org/abs/1702.03275)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.norm import unbiasing
from cvjax.ops.batch_norm import batch_moments


class BatchRenorm(nn.Module):
    """`x` normalised as evaluation will do it, while the gradient knows of the batch.

    In training x is normalised by the batch's mean and variance and then corrected by
    r = batch std / running std in [1 / r_max, r_max] and d = (batch mean - running mean) /
    running std in [-d_max, d_max], both without gradient (algorithm 1). At r = 1, d = 0 it is
    batch normalisation; where neither limit is reached, each example's output depends on the
    running statistics alone. For small batches and those whose examples are not independent.

    The limits are 1 and 0 for `warmup` steps and then open in a straight line, r_max until
    8 `warmup`, d_max until 5 `warmup` (the paper: 5,000, 40,000 and 25,000 steps); `warmup=0`
    opens them at once. The steps are counted in `batch_stats`.

    Differs from the paper: the running average is of the unbiased variance, as in
    `cvjax.nn.norm.BatchNorm`, not of the standard deviation.

    Raises:
        ValueError: in training on one value per channel, which has no unbiased variance.
    """

    r_max: float = 3.0
    d_max: float = 5.0
    warmup: int = 5000
    momentum: float = 0.99
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
        steps = self.variable("batch_stats", "steps", jnp.zeros, (), jnp.int32)
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", self.bias_init, (channels,), jnp.float32)

        shape = (1,) * (x.ndim - 1) + (channels,)
        wide = x.astype(jnp.float32)
        running_std = jnp.sqrt(running_var.value + self.epsilon)
        if use_running_average or self.is_initializing():
            y = (wide - running_mean.value.reshape(shape)) / running_std.reshape(shape)
        else:
            bessel = unbiasing(self, x)
            mean, var = batch_moments(x)
            std = jnp.sqrt(var + self.epsilon)
            r_max, d_max = self._limits(steps.value)
            r = jax.lax.stop_gradient(jnp.clip(std / running_std, 1 / r_max, r_max))
            d = (mean - running_mean.value) / running_std
            d = jax.lax.stop_gradient(jnp.clip(d, -d_max, d_max))
            y = (wide - mean.reshape(shape)) * (r / std).reshape(shape) + d.reshape(shape)
            keep, take = self.momentum, 1 - self.momentum
            running_mean.value = keep * running_mean.value + take * mean
            running_var.value = keep * running_var.value + take * bessel * var
            steps.value = steps.value + 1
        return (y * scale.reshape(shape) + bias.reshape(shape)).astype(self.dtype)

    def _limits(self, steps: Array) -> tuple[Array, Array]:
        if self.warmup == 0:
            return jnp.float32(self.r_max), jnp.float32(self.d_max)
        since = (steps - self.warmup) / self.warmup
        return (
            1 + (self.r_max - 1) * jnp.clip(since / 7, 0, 1),
            self.d_max * jnp.clip(since / 4, 0, 1),
        )
