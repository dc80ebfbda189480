"""Stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class DropPath(nn.Module):
    """`x`, the residual branch of a block, dropped whole for a share `rate` of the examples.

    In training every example on its own, by the stream "dropout": 0 with probability `rate`, else
    x / (1 - rate). In evaluation, and at rate 0, it is `x`, and no stream is asked for.

    Differs from the paper: what is kept is scaled up in training, instead of everything being
    scaled down in evaluation; the expectation is the same.

    Raises:
        ValueError: if `rate` is not in [0, 1].
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *rest"], *, train: bool) -> Float[Array, "b *rest"]:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of stochastic depth is {self.rate}, expected 0 to 1")
        if not train or self.rate == 0:
            return x
        if self.rate == 1:
            return jnp.zeros_like(x)
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(keep, x / jnp.asarray(1 - self.rate, x.dtype), jnp.zeros_like(x))


def linear_rates(last: float, blocks: int) -> tuple[float, ...]:
    """Rates of `blocks` blocks that rise from 0 in the first to `last` in the last (section 3)."""
    return tuple(last * i / max(blocks - 1, 1) for i in range(blocks))
