"""SNGAN's plain network (Miyato et al. 2018, https://arxiv.org/abs/1802.05957, table 3): every
layer of the discriminator is divided by its largest singular value, so that it is 1-Lipschitz.

Power iteration finds the value: one step a forward pass, whose vector `u` is kept, with the value
`sigma`, in the collection `batch_stats`. As in the paper and PyTorch's spectral_norm, a
convolution's matrix has its output channels on one side and all else on the other.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.norm import BatchNorm
from cvjax.nn.two_players import TwoPlayers
from cvjax.nn.up_conv import UpConv

SLOPE = 0.1


class SNGAN(TwoPlayers):
    """Both players for images of 16, 24, 32, ... pixels a side (a multiple of 8).

    `width`: channels of the discriminator's first map and of the generator's last; 64 in the paper.
    `latent_dim`: of the vector that an image is made from.
    """

    num_classes: int | None
    conditional: bool = False
    image_size: int = 32
    channels: int = 3
    latent_dim: int = 128
    width: int = 64
    dtype: Any = jnp.float32

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the images made."""
        return (self.image_size, self.image_size, self.channels)

    def setup(self) -> None:
        if self.image_size % 8 or self.image_size < 16:
            raise ValueError(
                f"model.image_size={self.image_size}: the network doubles its map three times; use "
                "a multiple of 8 from 16 on."
            )
        self.generator = Generator(self.image_size, self.channels, self.width, self.dtype)
        self.discriminator = Discriminator(self.width, self.dtype)


class Generator(nn.Module):
    """Dense, then three transposed convolutions 4x4 with stride 2, then 3x3 to the image."""

    image_size: int
    channels: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latent: Float[Array, "b d"], *, train: bool) -> Float[Array, "b h w c"]:
        size, width = self.image_size // 8, 8 * self.width
        x = Dense(size * size * width, dtype=self.dtype, name="project")(latent)
        x = x.reshape(-1, size, size, width)
        for i in range(1, 4):
            width //= 2
            x = UpConv(width, dtype=self.dtype, name=f"up{i}")(x)
            norm = BatchNorm(dtype=self.dtype, name=f"norm{i}")
            x = nn.relu(norm(x, use_running_average=not train))
        x = Conv(self.channels, (3, 3), padding=1, dtype=jnp.float32, name="image")(x)
        return jnp.tanh(x)


class Discriminator(nn.Module):
    """Convolutions 3x3 and, with stride 2, 4x4 in turn; dense to the score; all normalised."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, " b"]:
        x = image
        for i in range(1, 4):
            width = self.width * 2 ** (i - 1)
            x = self._conv(x, width, 3, 1, f"conv{i}", train=train)
            x = self._conv(x, width, 4, 2, f"down{i}", train=train)
        x = self._conv(x, 8 * self.width, 3, 1, "conv4", train=train)
        x = x.reshape(x.shape[0], -1)
        score = Dense(1, dtype=jnp.float32, name="score")
        return nn.SpectralNorm(score, name="score_norm")(x, update_stats=train)[:, 0]

    def _conv(
        self, x: Array, width: int, window: int, stride: int, name: str, *, train: bool
    ) -> Array:
        conv = Conv(width, (window,) * 2, (stride,) * 2, padding=1, dtype=self.dtype, name=name)
        x = nn.SpectralNorm(conv, name=f"{name}_norm")(x, update_stats=train)
        return nn.leaky_relu(x, SLOPE)


VARIANTS = {"sngan": (SNGAN, {})}
