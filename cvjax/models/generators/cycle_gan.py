"""CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593): a generator each way between two
sets of pictures, and a PatchGAN for each set.

With 9 blocks, 64 channels and 3 channels in and out each generator has 11,378,179 parameters and
each discriminator 2,764,737, as the authors' PyTorch code.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.patch_gan import WEIGHTS, PatchGAN
from cvjax.nn.translation_norm import translation_norm
from cvjax.nn.up_conv import UpConv


class CycleGAN(nn.Module):
    """`translate(image, to)` and `discriminate(image, of)`, values in [-1, 1]; sets "a" and "b".

    Parameters lie under `generator/to_a`, `generator/to_b`, `discriminator/of_a` and
    `discriminator/of_b`. Both sets have the same `channels`.

    Attributes:
        blocks: residual ones in each generator; the paper has 6 at 128 pixels, 9 at 256.
        width: of the outermost layer.
        patch_layers: of the PatchGANs; 3 see 70x70 pixels.
    """

    num_classes: int | None
    channels: int = 3
    width: int = 64
    blocks: int = 9
    patch_layers: int = 3
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.generator = BothWays(self.channels, self.width, self.blocks, self.dtype)
        self.discriminator = BothSets(self.width, self.patch_layers, self.dtype)

    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> dict[str, Float[Array, "..."]]:
        """Everything that the four networks say of `image`, to make their variables."""
        found = {}
        for domain in ("a", "b"):
            found[f"to_{domain}"] = self.translate(image, domain, train=train)
            found[f"of_{domain}"] = self.discriminate(image, domain, train=train)
        return found

    def translate(
        self, image: Float[Array, "b h w c"], to: str, *, train: bool
    ) -> Float[Array, "b h w c"]:
        """The picture as one of the set `to`."""
        return self.generator(image, to, train=train)

    def discriminate(
        self, image: Float[Array, "b h w c"], of: str, *, train: bool
    ) -> Float[Array, "b p q"]:
        """One score a patch, high for pictures of the set `of`."""
        return self.discriminator(image, of, train=train)


class BothWays(nn.Module):
    """The two generators."""

    channels: int
    width: int
    blocks: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        fields = (self.channels, self.width, self.blocks, self.dtype)
        self.to_a, self.to_b = ResNetGenerator(*fields), ResNetGenerator(*fields)

    def __call__(self, image: Array, to: str, *, train: bool) -> Array:
        return (self.to_a if to == "a" else self.to_b)(image, train=train)


class BothSets(nn.Module):
    """The two discriminators."""

    width: int
    layers: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        fields = (self.width, self.layers, "instance", self.dtype)
        self.of_a, self.of_b = PatchGAN(*fields), PatchGAN(*fields)

    def __call__(self, image: Array, of: str, *, train: bool) -> Array:
        return (self.of_a if of == "a" else self.of_b)(image, train=train)


class ResNetGenerator(nn.Module):
    """c7s1-64, d128, d256, residual blocks of 256, u128, u64, c7s1-3 (Zhu et al. 2017, 7.2).

    Instance normalisation, reflected borders; sides have to be multiples of 4.
    """

    channels: int
    width: int
    blocks: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        if image.shape[1] % 4 or image.shape[2] % 4:
            raise ValueError(
                f"cycle_gan: images of {image.shape[1]}x{image.shape[2]} pixels; both sides have "
                "to be multiples of 4."
            )

        def norm(x: Array, name: str) -> Array:
            return translation_norm(x, "instance", train=train, name=name, dtype=self.dtype)

        x = self._reflected(image, self.width, 7, "first")
        x = nn.relu(norm(x, "first_norm"))
        for i in (1, 2):
            x = Conv(
                self.width * 2**i, (3, 3), (2, 2), padding=1, kernel_init=WEIGHTS,
                dtype=self.dtype, name=f"down{i}",
            )(x)  # fmt: skip
            x = nn.relu(norm(x, f"down{i}_norm"))
        for i in range(1, self.blocks + 1):
            y = self._reflected(x, 4 * self.width, 3, f"block{i}_conv1")
            y = nn.relu(norm(y, f"block{i}_norm1"))
            y = self._reflected(y, 4 * self.width, 3, f"block{i}_conv2")
            x = x + norm(y, f"block{i}_norm2")
        for i in (1, 2):
            x = UpConv(
                4 * self.width // 2**i, window=3, kernel_init=WEIGHTS, dtype=self.dtype,
                name=f"up{i}",
            )(x)  # fmt: skip
            x = nn.relu(norm(x, f"up{i}_norm"))
        return jnp.tanh(self._reflected(x, self.channels, 7, "image", jnp.float32))

    def _reflected(self, x: Array, width: int, window: int, name: str, dtype: Any = None) -> Array:
        border = window // 2
        x = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
        return Conv(
            width, (window, window), padding="VALID", kernel_init=WEIGHTS,
            dtype=dtype or self.dtype, name=name,
        )(x)  # fmt: skip


VARIANTS = {"cycle_gan": (CycleGAN, {})}
