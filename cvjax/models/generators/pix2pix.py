"""pix2pix (Isola et al. 2017, https://arxiv.org/abs/1611.07004): a U-Net that turns one picture
into another, and a PatchGAN that looks at both.

At 256 pixels, 3 channels in and out, the generator has 54,413,955 parameters and the discriminator
2,768,705, as the authors' PyTorch code; at 128 pixels the generator 41,828,995.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.patch_gan import SLOPE, WEIGHTS, PatchGAN
from cvjax.nn.translation_norm import translation_norm
from cvjax.nn.up_conv import UpConv


class Pix2Pix(nn.Module):
    """`translate(condition)` and `discriminate(condition, image)`, values in [-1, 1].

    Attributes:
        image_size: a power of two; the U-Net halves it down to one pixel.
        channels: of the pictures made.
        width: of the outermost layer, up to 8 times that inside.
        patch_layers: of the PatchGAN; 3 see 70x70 pixels.
        dropout: in the three innermost layers of the way up that are 8 widths wide, the paper's
            only noise. Differs from the paper: in evaluation it is off.
    """

    num_classes: int | None
    image_size: int = 256
    channels: int = 3
    width: int = 64
    patch_layers: int = 3
    dropout: float = 0.5
    dtype: Any = jnp.float32

    def setup(self) -> None:
        depth = int(math.log2(self.image_size)) if self.image_size > 0 else 0
        if 2**depth != self.image_size or depth < 4:
            raise ValueError(
                f"model.image_size={self.image_size}: the U-Net halves it down to a pixel; use a "
                "power of two from 16 on."
            )
        self.generator = UNet(depth, self.channels, self.width, self.dropout, self.dtype)
        self.discriminator = PatchGAN(self.width, self.patch_layers, "batch", self.dtype)

    def __call__(
        self, condition: Float[Array, "b h w k"], image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b p q"]]:
        """(made image, scores of `image`): both players at once, to make their variables."""
        return self.translate(condition, train=train), self.discriminate(
            condition, image, train=train
        )

    def translate(
        self, condition: Float[Array, "b h w k"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """The picture that belongs to the condition."""
        return self.generator(condition, train=train)

    def discriminate(
        self, condition: Float[Array, "b h w k"], image: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b p q"]:
        """One score a patch, high for real pairs."""
        return self.discriminator(jnp.concatenate([condition, image], axis=-1), train=train)


class UNet(nn.Module):
    """Halvings to one pixel and back; each layer up also sees the map of its size on the way down.

    The authors' code (unet_256): leaky ReLU and convolution 4x4 down, ReLU and transposed
    convolution up, batch normalisation everywhere but outside and at the bottom.
    """

    depth: int
    channels: int
    width: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w k"], *, train: bool) -> Float[Array, "b h w c"]:
        maps = []
        widths = [self.width * min(2**i, 8) for i in range(self.depth)]
        for i, width in enumerate(widths, start=1):
            if i > 1:
                x = nn.leaky_relu(x, SLOPE)
            x = Conv(
                width, (4, 4), (2, 2), padding=1, use_bias=False, kernel_init=WEIGHTS,
                dtype=self.dtype, name=f"down{i}",
            )(x)  # fmt: skip
            if 1 < i < self.depth:
                x = translation_norm(
                    x, "batch", train=train, name=f"down_norm{i}", dtype=self.dtype
                )
            maps.append(x)
        for i in range(self.depth - 1, 0, -1):
            x = UpConv(
                widths[i - 1], use_bias=False, kernel_init=WEIGHTS, dtype=self.dtype, name=f"up{i}"
            )(nn.relu(x))
            x = translation_norm(x, "batch", train=train, name=f"up_norm{i}", dtype=self.dtype)
            if 5 <= i + 1 < self.depth:
                x = nn.Dropout(self.dropout, name=f"up_dropout{i}")(x, deterministic=not train)
            x = jnp.concatenate([maps[i - 1], x], axis=-1)
        # float32 at the end, whatever the compute type: pictures and their losses are made of it.
        x = UpConv(self.channels, kernel_init=WEIGHTS, dtype=jnp.float32, name="image")(nn.relu(x))
        return jnp.tanh(x)


VARIANTS = {"pix2pix": (Pix2Pix, {})}
