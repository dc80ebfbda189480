"""DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434), conditional where asked for.

Its five rules (section 3): strided convolutions instead of pooling, up and down; batch
normalisation in both players, but for the generator's output and the discriminator's input; no
dense hidden layer; ReLU in the generator with tanh at its end; leaky ReLU of slope 0.2 in the
discriminator. At 64x64x3 with 100 latent values these are PyTorch's example networks: 3,576,704
parameters in the generator, 2,765,568 in the discriminator.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.norm import BatchNorm
from cvjax.nn.two_players import TwoPlayers
from cvjax.nn.up_conv import UpConv

# "All weights were initialized from a zero-centered Normal with standard deviation 0.02".
_WEIGHTS = nn.initializers.normal(0.02)
SLOPE = 0.2


def _scales(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return 1.0 + _WEIGHTS(key, shape, dtype)


def stages(image_size: int) -> tuple[int, int]:
    """(side of the smallest map, number of doublings from there): 4 or more pixels, below 8.

    Raises:
        ValueError: if no doubling leads to that size.
    """
    size, doublings = image_size, 0
    while size >= 8 and size % 2 == 0:
        size, doublings = size // 2, doublings + 1
    if not 4 <= size < 8 or doublings == 0:
        raise ValueError(
            f"model.image_size={image_size}: the network doubles a map of 4 to 7 pixels. "
            "Use 28, 32 or 64, or another of 4, 5, 6 or 7 times a power of two."
        )
    return size, doublings


class DCGAN(TwoPlayers):
    """Both players for square images, 28, 32 or 64 pixels wide; 8 times fewer pixels a side less.

    `width`: channels of the map next to the image; they double with every stride.
    `latent_dim`: of the vector that an image is made from.
    `batch_norm`: False leaves it out of the discriminator, as a gradient penalty asks for.
    """

    num_classes: int | None
    conditional: bool = False
    image_size: int = 64
    channels: int = 3
    latent_dim: int = 100
    width: int = 64
    batch_norm: bool = True
    dtype: Any = jnp.float32

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the images made."""
        return (self.image_size, self.image_size, self.channels)

    def setup(self) -> None:
        self.generator = Generator(self.image_size, self.channels, self.width, self.dtype)
        self.discriminator = Discriminator(self.width, self.batch_norm, self.dtype)


class Generator(nn.Module):
    """A latent vector as a small map, then one transposed convolution a doubling."""

    image_size: int
    channels: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latent: Float[Array, "b d"], *, train: bool) -> Float[Array, "b h w c"]:
        size, doublings = stages(self.image_size)
        width = self.width * 2 ** (doublings - 1)
        # A transposed convolution of a map of one pixel is this matrix product.
        x = nn.DenseGeneral(
            (size, size, width), use_bias=False, kernel_init=_WEIGHTS, dtype=self.dtype,
            name="project",
        )(latent)  # [B, size, size, width]  # fmt: skip
        for i in range(1, doublings):
            x = nn.relu(self._norm(f"norm{i}", train)(x))
            width //= 2
            x = self._up(x, width, self.dtype, name=f"up{i}")
        x = nn.relu(self._norm(f"norm{doublings}", train)(x))
        # float32 at the end, whatever the compute type: pictures and their losses are made of it.
        return jnp.tanh(self._up(x, self.channels, jnp.float32, name="image"))

    def _up(self, x: Array, width: int, dtype: Any, *, name: str) -> Array:
        return UpConv(width, use_bias=False, kernel_init=_WEIGHTS, dtype=dtype, name=name)(x)

    def _norm(self, name: str, train: bool) -> Any:
        norm = BatchNorm(scale_init=_scales, dtype=self.dtype, name=name)
        return lambda x: norm(x, use_running_average=not train)


class Discriminator(nn.Module):
    """Strided convolutions down to a map of 4 to 7 pixels, and one that covers it: the score."""

    width: int
    batch_norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, " b"]:
        size, doublings = stages(image.shape[1])
        x = image
        for i in range(1, doublings + 1):
            x = Conv(
                self.width * 2 ** (i - 1), (4, 4), (2, 2), padding=1, use_bias=False,
                kernel_init=_WEIGHTS, dtype=self.dtype, name=f"down{i}",
            )(x)  # fmt: skip
            if i > 1 and self.batch_norm:
                norm = BatchNorm(scale_init=_scales, dtype=self.dtype, name=f"norm{i}")
                x = norm(x, use_running_average=not train)
            x = nn.leaky_relu(x, SLOPE)
        x = Conv(
            1, (size, size), padding="VALID", use_bias=False, kernel_init=_WEIGHTS,
            dtype=jnp.float32, name="score",
        )(x)  # fmt: skip
        return x.reshape(x.shape[0])


VARIANTS = {"dcgan": (DCGAN, {})}
