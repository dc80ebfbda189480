"""From an image to a vector and back: bodies of autoencoders, of their variational kind too."""

import math
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import HE_FAN_OUT

Body = Literal["dense", "conv"]
_HE = nn.initializers.he_normal()


class ImageEncoder(nn.Module):
    """Image [B, H, W, C] -> [B, D], by ReLU layers.

    `body`: "dense" = layers of the `widths` on the flattened pixels; "conv" = 4x4 convolutions of
    stride 2 with as many channels, then flattened.
    """

    body: Body
    widths: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        x = image.astype(self.dtype)
        if self.body == "dense":
            x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.widths, start=1):
            if self.body == "dense":
                layer = Dense(width, kernel_init=_HE, dtype=self.dtype, name=f"dense{i}")
            else:
                layer = Conv(
                    width, (4, 4), strides=2, padding=1, kernel_init=HE_FAN_OUT, dtype=self.dtype,
                    name=f"conv{i}",
                )  # fmt: skip
            x = nn.relu(layer(x))
        return x.reshape(x.shape[0], -1)


class ImageDecoder(nn.Module):
    """Vector [B, D] -> [B, H, W, P], float32: an `ImageEncoder` backwards, linear at the end.

    Raises:
        ValueError: if a "conv" body does not halve the image's sides to whole numbers.
    """

    body: Body
    widths: tuple[int, ...]
    outputs: tuple[int, int, int]  # H, W, P
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w p"]:
        x = z.astype(self.dtype)
        if self.body == "dense":
            for i, width in enumerate(reversed(self.widths), start=1):
                layer = Dense(width, kernel_init=_HE, dtype=self.dtype, name=f"dense{i}")
                x = nn.relu(layer(x))
            x = Dense(math.prod(self.outputs), dtype=jnp.float32, name="head")(x)
            return x.reshape(-1, *self.outputs)
        height, width, parameters = self.outputs
        factor = 2 ** len(self.widths)
        if height % factor or width % factor:
            raise ValueError(
                f"model.widths: {len(self.widths)} strides of 2 need sides that are multiples of "
                f"{factor}, not {height}x{width}. Set data.image_size or fewer widths."
            )
        smallest = (height // factor, width // factor, self.widths[-1])
        x = Dense(math.prod(smallest), kernel_init=_HE, dtype=self.dtype, name="dense")(x)
        x = nn.relu(x).reshape(-1, *smallest)
        for i, channels in enumerate(reversed(self.widths[:-1]), start=1):
            x = nn.relu(_upsampling(channels, dtype=self.dtype, name=f"conv{i}")(x))
        return _upsampling(parameters, dtype=jnp.float32, name="head")(x)


def _upsampling(channels: int, *, dtype: Any, name: str) -> nn.ConvTranspose:
    return nn.ConvTranspose(channels, (4, 4), strides=(2, 2), dtype=dtype, name=name)
