"""Unit vectors of channels, times a learned scale."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class L2Scale(nn.Module):
    """`x` over its length along the channels, times a `scale` a channel that starts at `init`.

    Liu et al. 2015, "ParseNet", https://arxiv.org/abs/1506.04579, section 3.3. Lengths are at least
    1e-12. float32 whatever the input's type; the result has the input's.
    """

    init: float = 20.0

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        scale = self.param("scale", nn.initializers.constant(self.init), (x.shape[-1],))
        wide = x.astype(jnp.float32)
        square = jnp.square(wide).sum(axis=-1, keepdims=True)
        # The floor lies under the root, where the gradient at 0 stays finite.
        y = wide / jnp.sqrt(jnp.maximum(square, 1e-24)) * scale.reshape((1,) * (x.ndim - 1) + (-1,))
        return y.astype(x.dtype)
