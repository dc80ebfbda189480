"""PatchGAN: a discriminator that scores overlapping patches (Isola et al. 2017,
https://arxiv.org/abs/1611.07004, section 3.2.2)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.translation_norm import TranslationNorm, translation_norm

WEIGHTS = nn.initializers.normal(0.02)
SLOPE = 0.2


class PatchGAN(nn.Module):
    """One score a patch: `layers` convolutions of stride 2, then two of stride 1, all 4x4.

    Three layers see 70x70 pixels (C64-C128-C256-C512), two 34x34, one 16x16. `width` is the first
    layer's; it doubles up to 8 times that. No normalisation on the first and the last.
    """

    width: int = 64
    layers: int = 3
    norm: TranslationNorm = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2"]:
        def conv(x: Array, width: int, stride: int, name: str, bias: bool, dtype: Any) -> Array:
            return Conv(
                width, (4, 4), (stride, stride), padding=1, use_bias=bias, kernel_init=WEIGHTS,
                dtype=dtype, name=name,
            )(x)  # fmt: skip

        for i in range(self.layers + 1):
            width, stride = self.width * min(2**i, 8), 2 if i < self.layers else 1
            # A bias in front of a batch norm does nothing.
            bias = i == 0 or self.norm != "batch"
            x = conv(x, width, stride, f"conv{i + 1}", bias, self.dtype)
            if i:
                x = translation_norm(
                    x, self.norm, train=train, name=f"norm{i + 1}", dtype=self.dtype
                )
            x = nn.leaky_relu(x, SLOPE)
        return conv(x, 1, 1, "score", True, jnp.float32)[..., 0]
