"""SRResNet and SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802, figure 4): pictures
enlarged by sub-pixel convolutions, and a discriminator that tells them from large ones.

For a factor of 4, with 16 blocks, 64 channels and RGB: 1,549,462 parameters in the generator. The
discriminator for 96x96 pixels has 23,565,505, of which 18,876,417 are in its two dense layers.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import PReLU
from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.norm import BatchNorm
from cvjax.ops.pixel_shuffle import pixel_shuffle

SLOPE = 0.2
# Of all strides of the discriminator together.
REDUCTION = 16


class SRResNet(nn.Module):
    """`upscale(image)`: small pictures in [0, 1] to large ones in [-1, 1], `factor` times a side.

    Parameters lie under `generator/`.

    Attributes:
        factor: 2, 4, 8 ...: a sub-pixel convolution for each doubling.
        width: channels of the residual path.
        blocks: residual ones; the paper has 16.
    """

    channels: int = 3
    factor: int = 4
    width: int = 64
    blocks: int = 16
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.generator = Generator(self.channels, self.factor, self.width, self.blocks, self.dtype)

    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 c"]:
        return self.upscale(image, train=train)

    def upscale(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 c"]:
        """The large pictures; what is slightly outside of [-1, 1] is not cut off."""
        return self.generator(image, train=train)


class SRGAN(SRResNet):
    """As `SRResNet`, and `discriminate(image)`: one score a large picture, high for real ones.

    Parameters lie under `generator/` and `discriminator/`. `discriminator_width`: of its first
    layer, an eighth of its last. Its dense layers fix the size of the pictures, which has to be a
    multiple of 16.
    """

    discriminator_width: int = 64

    def setup(self) -> None:
        super().setup()
        self.discriminator = Discriminator(self.discriminator_width, self.dtype)

    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b h2 w2 c"], Float[Array, " b"]]:
        """Both players, to make their variables."""
        made = self.upscale(image, train=train)
        return made, self.discriminate(made, train=train)

    def discriminate(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, " b"]:
        """Scores; `image` in [-1, 1]."""
        return self.discriminator(image, train=train)


class Generator(nn.Module):
    """k9n64, residual blocks, k3n64 and the sum with the first, k3n256 and x2 twice, k9n3.

    Differs from the paper: nothing, but that it leaves open whether PReLU has a slope for each
    channel or one in all; it is one, as the count of 1,549,462 parameters asks.
    """

    channels: int
    factor: int
    width: int
    blocks: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 c"]:
        doublings = round(math.log2(self.factor)) if self.factor > 0 else 0
        if doublings < 1 or 2**doublings != self.factor:
            raise ValueError(f"model.factor={self.factor}: 2, 4, 8 or another power of two.")

        def conv(x: Array, width: int, window: int, name: str, dtype: Any = self.dtype) -> Array:
            fields = {"padding": window // 2, "dtype": dtype, "name": name}
            return Conv(width, (window, window), **fields)(x)

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(dtype=self.dtype, name=name)(x, use_running_average=not train)

        first = PReLU(shared=True, name="first_slope")(conv(image, self.width, 9, "first"))
        x = first
        for i in range(1, self.blocks + 1):
            y = norm(conv(x, self.width, 3, f"block{i}_conv1"), f"block{i}_norm1")
            y = PReLU(shared=True, name=f"block{i}_slope")(y)
            x = x + norm(conv(y, self.width, 3, f"block{i}_conv2"), f"block{i}_norm2")
        x = first + norm(conv(x, self.width, 3, "last_conv"), "last_norm")
        for i in range(1, doublings + 1):
            x = pixel_shuffle(conv(x, 4 * self.width, 3, f"up{i}"), 2)
            x = PReLU(shared=True, name=f"up{i}_slope")(x)
        # float32 at the end, whatever the compute type: pictures and their losses are made of it.
        return conv(x, self.channels, 9, "image", jnp.float32)


class Discriminator(nn.Module):
    """Eight 3x3 convolutions, 64 to 512 channels, every second of stride 2; two dense layers."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, " b"]:
        if image.shape[1] % REDUCTION or image.shape[2] % REDUCTION:
            raise ValueError(
                f"srgan: pictures of {image.shape[1]}x{image.shape[2]} pixels; both sides have to "
                f"be multiples of {REDUCTION}."
            )
        x = image
        for i in range(8):
            x = Conv(
                self.width * 2 ** (i // 2), (3, 3), strides=1 + i % 2, padding=1, dtype=self.dtype,
                name=f"conv{i + 1}",
            )(x)  # fmt: skip
            if i:
                norm = BatchNorm(dtype=self.dtype, name=f"norm{i + 1}")
                x = norm(x, use_running_average=not train)
            x = nn.leaky_relu(x, SLOPE)
        x = x.reshape(len(x), -1)
        x = nn.leaky_relu(Dense(16 * self.width, dtype=self.dtype, name="hidden")(x), SLOPE)
        return Dense(1, dtype=jnp.float32, name="score")(x)[:, 0]


VARIANTS = {"srresnet": (SRResNet, {}), "srgan": (SRGAN, {})}
