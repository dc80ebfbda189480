"""The layer that doubles a map by a transposed convolution."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.ops.transposed_conv import double_map


class UpConv(nn.Module):
    """`flax.linen.ConvTranspose(features, (4, 4), (2, 2))`, same parameters, by `double_map`.

    `window` 3 is PyTorch's ConvTranspose2d(3, stride=2, padding=1, output_padding=1).
    """

    features: int
    window: Literal[3, 4] = 4
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        shape = (self.window, self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        if self.window == 3:
            kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
        y = double_map(x.astype(self.dtype), kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y
