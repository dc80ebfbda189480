"""The variational autoencoder (Kingma and Welling 2014, "Auto-encoding variational Bayes",
https://arxiv.org/abs/1312.6114), also given the label (Sohn et al. 2015, "Learning structured
output representation using deep conditional generative models").
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cvjax.nn.dense import Dense
from cvjax.nn.image_coders import Body, ImageDecoder, ImageEncoder
from cvjax.nn.pixel_model import PixelModel


class VAE(PixelModel):
    """Image -> Gaussian over latents, latent -> distribution of every pixel, all at once.

    `encode` and `decode` are the two halves; the call, which draws a latent from the stream
    "noise", is both. Prior N(0, 1), posterior with diagonal covariance.

    `latent`: its dimensions. `body`, `widths`: of encoder and, backwards,
    decoder (`cvjax.nn.image_coders`). `condition_classes`: where it is not 0, both halves are given
    the label, one of so many. The other fields are those of `cvjax.nn.pixel_model`.
    """

    latent: int = 32
    body: Body = "dense"
    widths: tuple[int, ...] = (512, 256)
    condition_classes: int = 0
    components: int = 1

    def setup(self) -> None:
        height, width, _ = self.image_shape
        self.encoder = ImageEncoder(self.body, self.widths, self.dtype)
        # float32 whatever the compute type: the KL is made of it.
        self.posterior = Dense(2 * self.latent, dtype=jnp.float32)
        outputs = (height, width, self.distribution.parameters)
        self.decoder = ImageDecoder(self.body, self.widths, outputs, self.dtype)

    def __call__(
        self, image: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """({`parameters` [B, H, W, P], `mean` and `log_variance` [B, D]}, {"pooled": the mean}).

        Evaluation decodes the posterior's mean.
        """
        mean, log_variance = self.encode(image, label)
        z = mean
        if train:
            noise = jax.random.normal(self.make_rng("noise"), mean.shape)
            z = mean + jnp.exp(log_variance / 2) * noise
        outputs = {"parameters": self.decode(z, label), "mean": mean, "log_variance": log_variance}
        return outputs, {"pooled": mean}

    def encode(
        self, image: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """(mean, log variance) of q(z | image), float32.

        Raises:
            ValueError: if the image has another shape than `image_shape`.
        """
        if image.shape[1:] != self.image_shape:
            raise ValueError(f"vae: images are {image.shape[1:]}, not {self.image_shape}.")
        x = self._with_label(self.encoder(2 * image - 1), label)
        mean, log_variance = jnp.split(self.posterior(x), 2, axis=-1)
        return mean, log_variance

    def decode(
        self, z: Float[Array, "*s d"], label: Int[Array, " *s"] | None = None
    ) -> Float[Array, "*s h w p"]:
        """Parameters of p(image | z), float32."""
        flat = z.reshape(-1, self.latent)
        label = None if label is None else label.reshape(-1)
        parameters = self.decoder(self._with_label(flat, label))
        return parameters.reshape(*z.shape[:-1], *parameters.shape[1:])

    def _with_label(self, x: Array, label: Array | None) -> Array:
        if not self.condition_classes:
            return x
        if label is None:
            raise ValueError("vae: condition_classes is set, so every example needs its label.")
        return jnp.concatenate([x, jax.nn.one_hot(label, self.condition_classes)], axis=-1)


VARIANTS = {
    "vae": (VAE, {}),
    "conv_vae": (VAE, {"body": "conv", "widths": (32, 64)}),
}
