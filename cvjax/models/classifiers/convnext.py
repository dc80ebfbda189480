"""ConvNeXt (Liu et al. 2022, https://arxiv.org/abs/2201.03545).

Parameters at 1000 classes, as in torchvision: convnext_tiny 28,589,128, convnext_small 50,223,688,
convnext_base 88,591,464, convnext_large 197,767,336.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.drop_path import DropPath, linear_rates
from cvjax.nn.initializers import SMALL_NORMAL
from cvjax.nn.mlp import Mlp
from cvjax.nn.norm import LayerNorm
from cvjax.nn.remat import apply_block
from cvjax.ops.pool import global_avg_pool


class ConvNeXt(nn.Module):
    """Patches of 4 pixels, stages of blocks, global average pooling, a norm, a linear head.

    Every stage but the first begins with a norm and a 2x2 convolution of stride 2 that doubles the
    width. `layer_scale`: initial value of a learned factor per channel at the end of each branch.
    `drop_path`: stochastic depth's rate in the last block, rising linearly from 0 (stream
    "dropout"). `remat`: recompute a block in the backward pass instead of keeping its inner maps.
    "pooled" is what the norm after the pooling gives. Any image size from 4 * 2 ** (stages - 1).
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (3, 3, 9, 3)
    width: int = 96
    layer_scale: float = 1e-6
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = _patches(self.width, 4, dtype=self.dtype, name="stem_conv")(image)
        x = LayerNorm(dtype=self.dtype, name="stem_norm")(x)
        rates = iter(linear_rates(self.drop_path, sum(self.stage_sizes)))
        for i, blocks in enumerate(self.stage_sizes):
            stage = f"stage{i + 1}"
            if i > 0:
                x = LayerNorm(dtype=self.dtype, name=f"{stage}_norm")(x)
                x = _patches(self.width * 2**i, 2, dtype=self.dtype, name=f"{stage}_conv")(x)
            for j in range(blocks):
                block = Block(
                    layer_scale=self.layer_scale,
                    drop_path=next(rates),
                    dtype=self.dtype,
                    name=f"{stage}_block{j + 1}",
                )
                x = apply_block(block, x, train=train, remat=self.remat)
            features[f"stride{4 * 2**i}"] = x

        x = LayerNorm(dtype=self.dtype, name="norm")(global_avg_pool(x))
        features["pooled"] = x
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=SMALL_NORMAL, dtype=jnp.float32, name="head")
        return head(x), features


class Block(nn.Module):
    """x + depthwise 7x7 convolution - norm - MLP, four times as wide inside (fig. 4)."""

    layer_scale: float = 1e-6
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        y = Conv(
            channels,
            (7, 7),
            padding=3,
            feature_group_count=channels,
            kernel_init=SMALL_NORMAL,
            dtype=self.dtype,
            name="conv",
        )(x)
        y = LayerNorm(dtype=self.dtype, name="norm")(y)
        y = Mlp(4 * channels, dtype=self.dtype, name="mlp")(y, train=train)
        init = nn.initializers.constant(self.layer_scale)
        factor = self.param("layer_scale", init, (channels,), jnp.float32)
        y = y * factor.astype(y.dtype)[None, None, None, :]
        return x + DropPath(self.drop_path)(y, train=train)


def _patches(channels: int, size: int, *, dtype: Any, name: str) -> nn.Conv:
    """A convolution of windows that tile the map; a remainder at the border is left out."""
    return Conv(
        channels,
        (size, size),
        strides=size,
        padding=0,
        kernel_init=SMALL_NORMAL,
        dtype=dtype,
        name=name,
    )


# Rates of stochastic depth from the paper's table 5 (ImageNet-1K).
VARIANTS = {
    "convnext_tiny": (ConvNeXt, {"drop_path": 0.1}),
    "convnext_small": (ConvNeXt, {"stage_sizes": (3, 3, 27, 3), "drop_path": 0.4}),
    "convnext_base": (ConvNeXt, {"stage_sizes": (3, 3, 27, 3), "width": 128, "drop_path": 0.5}),
    "convnext_large": (ConvNeXt, {"stage_sizes": (3, 3, 27, 3), "width": 192, "drop_path": 0.5}),
}
