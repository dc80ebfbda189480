"""What every generative adversarial network has: a generator, a discriminator, and their inputs."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int


class TwoPlayers(nn.Module):
    """A model whose `setup` makes `generator` and `discriminator`: parameters lie under both names.

    `generator(latent, train=)` returns images, `discriminator(images, train=)` one score an image.
    Subclasses have the fields `num_classes`, `conditional`, `latent_dim`, `image_shape` (h, w, c),
    or a property for it.

    With `conditional`, both are told the class (Mirza & Osindero 2014,
    https://arxiv.org/abs/1411.1784): one-hot values behind the latent vector, and one-hot maps
    behind the image's channels.
    """

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        latent: Float[Array, "b d"],
        label: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "b h w c"], Float[Array, " b"]]:
        """(made images, scores of `image`): both players at once, to make their variables."""
        made = self.generate(latent, label, train=train)
        return made, self.discriminate(image, label, train=train)

    def generate(
        self, latent: Float[Array, "b d"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Images, in the range of the training data after its normalisation."""
        if self.conditional:
            latent = jnp.concatenate([latent, self._one_hot(label)], axis=-1)
        return self.generator(latent, train=train)

    def discriminate(
        self,
        image: Float[Array, "b h w c"],
        label: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, " b"]:
        """One score an image, float32, high for "real"."""
        if self.conditional:
            maps = self._one_hot(label)[:, None, None, :]
            maps = jnp.broadcast_to(maps, (*image.shape[:3], maps.shape[-1]))
            image = jnp.concatenate([image, maps.astype(image.dtype)], axis=-1)
        return self.discriminator(image, train=train)

    def _one_hot(self, label: Any) -> Float[Array, "b k"]:
        if label is None:
            raise ValueError(
                f"{type(self).__name__}: model.conditional=True needs a label for every example."
            )
        return jax.nn.one_hot(label, self.num_classes)
