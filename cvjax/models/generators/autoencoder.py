"""The autoencoder: an image through a code smaller than itself and back (Hinton and Salakhutdinov
2006, "Reducing the dimensionality of data with neural networks").

The decoder is there to train the encoder, which a classifier may take over
(`cvjax.models.classifiers.coder`). A code of no distribution cannot be sampled: that is the VAE.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.image_coders import Body, ImageDecoder, ImageEncoder


class Autoencoder(nn.Module):
    """({`reconstruction` [B, H, W, C], `code` [B, latent]}, {"pooled": the code}).

    The reconstruction is linear, float32. `image_shape`: (H, W, C). `latent`: of the code, fewer
    than the image's values. `body`, `widths`: of encoder and, backwards, decoder
    (`cvjax.nn.image_coders`).

    Raises:
        ValueError: if the code is no smaller than the image, or the image has another shape.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    latent: int = 32
    body: Body = "dense"
    widths: tuple[int, ...] = (512, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        del train
        if image.shape[1:] != self.image_shape:
            raise ValueError(f"autoencoder: images are {image.shape[1:]}, not {self.image_shape}.")
        values = math.prod(self.image_shape)
        if self.latent >= values:
            raise ValueError(
                f"model.latent={self.latent}: a code as large as the image ({values} values) need "
                "learn nothing. Make it smaller."
            )
        x = ImageEncoder(self.body, self.widths, self.dtype, name="encoder")(2 * image - 1)
        code = Dense(self.latent, dtype=self.dtype, name="code")(x)
        decoder = ImageDecoder(self.body, self.widths, self.image_shape, self.dtype, name="decoder")
        return {"reconstruction": decoder(code), "code": code}, {"pooled": code}


VARIANTS = {
    "autoencoder": (Autoencoder, {}),
    "conv_autoencoder": (Autoencoder, {"body": "conv", "widths": (32, 64)}),
}
