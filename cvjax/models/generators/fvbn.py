"""Fully visible belief networks: every value given all those before it, without latents.

Frey 1998, "Graphical models for machine learning and digital communication": one logistic
regression a value (`fvbn`). Germain et al. 2015, "MADE", https://arxiv.org/abs/1502.03509: hidden
layers whose units see only the first so many values (`made`).
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from cvjax.nn.pixel_model import PixelModel

_LECUN = nn.initializers.lecun_normal()


class FVBN(PixelModel):
    """({`parameters` [B, H, W, P]}, {}): those of a value depend on values before it alone.

    The order is row by row, and within a pixel channel by channel. `hidden`: widths of MADE's
    layers, whose units see the first 1, 2, ... D - 1 of the D values in turn; a linear map of the
    values is added to what they say, and is all where there are none. The other fields are those of
    `cvjax.nn.pixel_model`.
    """

    hidden: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        del train
        height, width, channels = self.image_shape
        if image.shape[1:] != self.image_shape:
            raise ValueError(f"fvbn: images are {image.shape[1:]}, not {self.image_shape}.")
        distribution, values = self.distribution, math.prod(self.image_shape)
        x = (2 * image - 1).reshape(len(image), values).astype(self.dtype)
        index = np.arange(values)  # a unit or output that sees n of them sees 0 ... n - 1
        each = distribution.parameters // distribution.groups
        sees = index if distribution.groups == channels else index[::channels]
        sees = np.repeat(sees, each)
        # float32 whatever the compute type: probabilities are made of it.
        y = self._linear(x, index[:, None] < sees, "direct", jnp.float32)
        known, mask_input = index + 1, x
        for i, units in enumerate(self.hidden, start=1):
            degree = 1 + np.arange(units) % max(1, values - 1)
            layer = self._linear(mask_input, known[:, None] <= degree, f"hidden{i}", self.dtype)
            mask_input, known = nn.relu(layer), degree
        if self.hidden:
            y = y + self._linear(mask_input, known[:, None] <= sees, "head", jnp.float32)
        return {"parameters": y.reshape(-1, height, width, distribution.parameters)}, {}

    def _linear(
        self, x: Float[Array, "b d"], mask: Bool[np.ndarray, "d e"], name: str, dtype: Any
    ) -> Float[Array, "b e"]:
        mask = mask.astype(np.float32)
        kernel = self.param(
            f"{name}_kernel", lambda key, shape: _LECUN(key, shape) * mask, mask.shape
        )
        bias = self.param(f"{name}_bias", nn.initializers.zeros, mask.shape[1:])
        return x.astype(dtype) @ (kernel * mask).astype(dtype) + bias.astype(dtype)[None]


VARIANTS = {"fvbn": (FVBN, {}), "made": (FVBN, {"hidden": (500,)})}
