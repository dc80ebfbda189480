"""Vision transformers (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929).

ViT: vit_tiny/small/base_patch16_224 (timm's names) and vit_b_16 (torchvision's); vit_tiny_patch4_32
for images of 32 pixels. DeiT (Touvron et al. 2020, https://arxiv.org/abs/2012.12877):
deit_tiny/small/base_patch16_224, and with a distillation token
deit_tiny/small/base_distilled_patch16_224. DeiT III (Touvron et al. 2022,
https://arxiv.org/abs/2204.07118): deit3_small/base_patch16_224.
Parameters at 1000 classes, as in timm: ViT and DeiT 5,717,416 / 22,050,664 / 86,567,656, distilled
5,910,800 / 22,436,432 / 87,338,192, DeiT III 22,059,496 / 86,585,320.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.attention import SelfAttention
from cvjax.nn.conv import Conv
from cvjax.nn.drop_path import DropPath, linear_rates
from cvjax.nn.initializers import SMALL_NORMAL
from cvjax.nn.mlp import Mlp
from cvjax.nn.norm import LayerNorm
from cvjax.nn.remat import apply_block
from cvjax.ops.materialized import materialized


class VisionTransformer(nn.Module):
    """Patches as tokens beside a class token, blocks of attention and MLP, a norm, a linear head.

    The features are "stride<patch_size>", the patches' tokens laid out as a map after the last
    norm, and "pooled", the class token. `image_size`: the images must be squares of this size,
    because every patch has a learned position of its own (a table can be resized:
    cvjax/pretrained/position_tables.py).

    `distilled`: a second token with a head of its own is to learn from a teacher; the logits are
    the mean of the two heads and "pooled" is the mean of the two tokens. With
    `distilled_training`, the logits in training are the class token's alone, and
    features["aux1_logits"] are the distillation token's, for a loss that tells them apart.
    `class_position`: whether the tokens beside the patches have positions too. `layer_scale`:
    initial value of a learned factor per channel at the end of each branch; None for no factors.
    `dropout` follows the position table and every dense layer but qkv; `attention_dropout` drops
    attention weights; `drop_path` is stochastic depth's rate in the last block, rising linearly
    from 0. All three take the stream "dropout". There are width / head_width heads. `remat`:
    recompute a block in the backward pass instead of keeping its inner values.

    Raises:
        ValueError: if an image is not `image_size` square, or `patch_size` does not divide it.
    """

    num_classes: int | None
    width: int
    patch_size: int = 16
    depth: int = 12
    head_width: int = 64
    image_size: int = 224
    distilled: bool = False
    distilled_training: bool = False
    class_position: bool = True
    layer_scale: float | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        _check_size(self.image_size, self.patch_size, image.shape)
        x = Conv(
            self.width,
            (self.patch_size, self.patch_size),
            strides=self.patch_size,
            padding=0,
            dtype=self.dtype,
            name="patch_embedding",
        )(image)
        batch, side, _, width = x.shape
        x = x.reshape(batch, side * side, width)

        names = ["class_token", *(["distillation_token"] if self.distilled else [])]
        tokens = [self.param(name, SMALL_NORMAL, (1, 1, width), jnp.float32) for name in names]
        tokens = jnp.concatenate(tokens, axis=1).astype(x.dtype)
        tokens = jnp.broadcast_to(tokens, (batch, len(names), width))
        count = side * side + (len(names) if self.class_position else 0)
        table = self.param("position_embedding", SMALL_NORMAL, (1, count, width), jnp.float32)
        table = table.astype(x.dtype)
        if self.class_position:
            x = jnp.concatenate([tokens, x], axis=1) + table  # [B, T, D]
        else:
            x = jnp.concatenate([tokens, x + table], axis=1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        for i, drop_path in enumerate(linear_rates(self.drop_path, self.depth)):
            block = Block(
                heads=max(self.width // self.head_width, 1),
                layer_scale=self.layer_scale,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                drop_path=drop_path,
                dtype=self.dtype,
                name=f"block{i + 1}",
            )
            x = apply_block(block, x, train=train, remat=self.remat)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)

        patches = x[:, len(names) :].reshape(batch, side, side, width)
        features = {f"stride{self.patch_size}": patches}
        features["pooled"] = (x[:, 0] + x[:, 1]) / 2 if self.distilled else x[:, 0]
        if self.num_classes is None:
            return None, features
        # The heads and the logits are float32 whatever the compute type.
        dense = functools.partial(
            nn.Dense, self.num_classes, kernel_init=SMALL_NORMAL, dtype=jnp.float32
        )
        logits = dense(name="head")(x[:, 0])
        if self.distilled:
            distilled_logits = dense(name="head_distilled")(x[:, 1])
            if self.distilled_training:
                features["aux1_logits"] = distilled_logits
            if not (train and self.distilled_training):
                logits = (logits + distilled_logits) / 2
        return logits, features


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (fig. 1, right)."""

    heads: int
    layer_scale: float | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], *, train: bool) -> Float[Array, "b t d"]:
        attention = SelfAttention(
            self.heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            dtype=self.dtype,
            name="attention",
        )
        y = attention(LayerNorm(dtype=self.dtype, name="norm1")(x), train=train)
        x = materialized(x + self._branch(y, "layer_scale1", train=train))
        mlp = Mlp(4 * x.shape[-1], dropout=self.dropout, dtype=self.dtype, name="mlp")
        y = mlp(LayerNorm(dtype=self.dtype, name="norm2")(x), train=train)
        return materialized(x + self._branch(y, "layer_scale2", train=train))

    def _branch(self, y: Array, name: str, *, train: bool) -> Array:
        if self.layer_scale is not None:
            init = nn.initializers.constant(self.layer_scale)
            factor = self.param(name, init, (y.shape[-1],), jnp.float32)
            y = y * factor.astype(y.dtype)[None, None, :]
        return DropPath(self.drop_path)(y, train=train)


def _check_size(size: int, patch_size: int, shape: tuple[int, ...]) -> None:
    if size % patch_size:
        raise ValueError(f"image_size={size} is not a multiple of the patch's size, {patch_size}")
    if shape[1:3] != (size, size):
        raise ValueError(
            f"the images are {shape[1]}x{shape[2]}, but this model has positions for "
            f"{size}x{size}. Resize the images or create it with another image_size; a trained "
            f"table goes along by cvjax.pretrained.position_tables.resize_position_table."
        )


_WIDTHS = {"tiny": 192, "small": 384, "base": 768}

VARIANTS = {
    f"{family}_{size}_patch16_224": (VisionTransformer, {"width": width})
    for family in ("vit", "deit")
    for size, width in _WIDTHS.items()
}
VARIANTS |= {
    f"deit_{size}_distilled_patch16_224": (VisionTransformer, {"width": width, "distilled": True})
    for size, width in _WIDTHS.items()
}
VARIANTS |= {
    f"deit3_{size}_patch16_224": (
        VisionTransformer,
        {"width": _WIDTHS[size], "class_position": False, "layer_scale": 1e-6},
    )
    for size in ("small", "base")
}
VARIANTS |= {
    "vit_b_16": (VisionTransformer, {"width": 768}),
    "vit_tiny_patch4_32": (VisionTransformer, {"width": 192, "patch_size": 4, "image_size": 32}),
}
