"""Dropout for self-normalising networks (Klambauer et al. 2017, https://arxiv.org/abs/1706.02515)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

# SELU's limit at -infinity, - lambda alpha (the paper's equations 1 and 14).
SELU_LIMIT = -1.0507009873554805 * 1.6732632423543772


class AlphaDropout(nn.Module):
    """`x` with a share `rate` of its values set to SELU's negative limit, then mapped affinely
    so that mean 0 and variance 1 stay what they are (section "new dropout technique").

    In training, by the stream "dropout"; with `deterministic`, and at rate 0, it is `x`.

    Raises:
        ValueError: if `rate` is not in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b"], *, deterministic: bool) -> Float[Array, "*b"]:
        if not 0 <= self.rate < 1:
            raise ValueError(f"the rate of alpha dropout is {self.rate}, expected 0 to below 1")
        if deterministic or self.rate == 0:
            return x
        kept = 1 - self.rate
        gain = (kept + SELU_LIMIT**2 * kept * self.rate) ** -0.5
        shift = -gain * self.rate * SELU_LIMIT
        keep = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
        dropped = jnp.where(keep, x, jnp.asarray(SELU_LIMIT, x.dtype))
        return dropped * jnp.asarray(gain, x.dtype) + jnp.asarray(shift, x.dtype)
