"""A GAN of dense layers (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661): for points of
the plane, where the densities can be looked at, and for small pictures."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import Activation, activate, initial_weights
from cvjax.nn.dense import Dense
from cvjax.nn.two_players import TwoPlayers


class MLPGAN(TwoPlayers):
    """Two perceptrons with the hidden widths `hidden`; images are of `image_shape` (h, w, c).

    Points of the plane are images of one pixel with two channels. `output`: "identity", or "tanh"
    where all values lie in [-1, 1].
    """

    num_classes: int | None
    conditional: bool = False
    image_shape: tuple[int, int, int] = (1, 1, 2)
    latent_dim: int = 2
    hidden: tuple[int, ...] = (128, 128)
    activation: Activation = "relu"
    output: Literal["identity", "tanh"] = "identity"
    dtype: Any = jnp.float32

    def setup(self) -> None:
        fields = {"hidden": self.hidden, "activation": self.activation, "dtype": self.dtype}
        self.generator = Generator(self.image_shape, self.output, **fields)
        self.discriminator = Discriminator(**fields)


class Generator(nn.Module):
    """Dense layers from a latent vector to an image."""

    image_shape: tuple[int, int, int]
    output: str
    hidden: tuple[int, ...]
    activation: Activation
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latent: Float[Array, "b d"], *, train: bool) -> Float[Array, "b h w c"]:
        del train
        x = _hidden(latent, self.hidden, self.activation, self.dtype)
        height, width, channels = self.image_shape
        x = Dense(height * width * channels, dtype=jnp.float32, name="image")(x)
        x = x.reshape(-1, height, width, channels)
        return jnp.tanh(x) if self.output == "tanh" else x


class Discriminator(nn.Module):
    """Dense layers from an image to its score."""

    hidden: tuple[int, ...]
    activation: Activation
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, " b"]:
        del train
        x = image.reshape(image.shape[0], -1)
        x = _hidden(x, self.hidden, self.activation, self.dtype)
        return Dense(1, dtype=jnp.float32, name="score")(x)[:, 0]


def _hidden(x: Array, widths: tuple[int, ...], activation: Activation, dtype: Any) -> Array:
    init = initial_weights(activation)
    for i, width in enumerate(widths, start=1):
        x = Dense(width, kernel_init=init, dtype=dtype, name=f"hidden{i}")(x)
        x = activate(x, activation, name=f"activation{i}", negative_slope=0.2)
    return x


VARIANTS = {"mlp_gan": (MLPGAN, {})}
