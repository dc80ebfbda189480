"""What every model of pixels' distributions has."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from cvjax.ops.pixel_distributions import Kind, PixelDistribution, pixel_distribution


class PixelModel(nn.Module):
    """A network that says of each pixel of an image which values are how probable.

    `image_shape`: (H, W, C). `likelihood`, `levels`, `components`: of a pixel
    (`cvjax.ops.pixel_distributions`).
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    likelihood: Kind = "bernoulli"
    levels: int = 256
    components: int = 10
    dtype: Any = jnp.float32

    @property
    def distribution(self) -> PixelDistribution:
        """Of a pixel."""
        return pixel_distribution(
            self.likelihood,
            channels=self.image_shape[-1],
            levels=self.levels,
            components=self.components,
        )
