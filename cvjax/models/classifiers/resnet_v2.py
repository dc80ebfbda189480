"""Pre-activation residual networks (He et al. 2016, "Identity mappings in deep residual
networks", https://arxiv.org/abs/1603.05027).

ImageNet: resnetv2_50/101/152/200, 25,549,352 / 44,541,480 / 60,185,128 / 64,666,152 parameters at
1000 classes; the first three are timm's. CIFAR: preact_resnet20/56/110 of two 3x3 convolutions a
block with shortcuts without parameters, and preact_resnet164 of bottlenecks with projections;
`stage_sizes=(111, 111, 111)` makes the latter the paper's ResNet-1001.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.nn.preactivation import PreActBasicBlock, PreActBottleneck, Shortcut, conv, norm_relu
from cvjax.nn.remat import apply_block
from cvjax.ops.pool import global_avg_pool, max_pool


class ResNetV2(nn.Module):
    """Convolution, stages of pre-activation blocks, BN, ReLU, global average pooling, head.

    The first block of every stage but the first halves the map and doubles the width.
    `stem`: "imagenet" = 7x7 stride 2, then 3x3 max-pool stride 2; "cifar" = 3x3 stride 1. Neither
    has a norm: the first block's comes behind. The maps at all strides but the last are sums that
    no activation has seen. `shortcut`: where a block changes the shape, "projection" = 1x1
    convolution, "pad" = every second pixel and zero channels.
    `drop_path`: the rate at which the last block is skipped in training, the first least
    (Huang et al. 2016, https://arxiv.org/abs/1603.09382). `remat`: recompute a block in the
    backward pass instead of keeping its inner maps. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    block: Literal["basic", "bottleneck"] = "bottleneck"
    width: int = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"
    shortcut: Shortcut = "projection"
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        stride = 1
        if self.stem == "imagenet":
            x = conv(self.width, 7, stride=2, dtype=self.dtype, name="stem_conv")(image)
            features["stride2"] = x
            x = max_pool(x, window=3, stride=2, padding=1)
            stride = 4
        else:
            x = conv(self.width, 3, dtype=self.dtype, name="stem_conv")(image)

        block_class = {"basic": PreActBasicBlock, "bottleneck": PreActBottleneck}[self.block]
        done = 0
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                down = i > 0 and j == 0
                done += 1
                block = block_class(
                    width=self.width * 2**i,
                    stride=2 if down else 1,
                    shortcut=self.shortcut,
                    first=done == 1,
                    drop_path=self.drop_path * done / sum(self.stage_sizes),
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = apply_block(block, x, train=train, remat=self.remat)
                stride *= 2 if down else 1
            features[f"stride{stride}"] = x

        x = norm_relu(x, train=train, dtype=self.dtype, name="final_norm")
        features[f"stride{stride}"] = x
        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


_IMAGENET = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}

VARIANTS = {
    f"resnetv2_{depth}": (ResNetV2, {"stage_sizes": sizes}) for depth, sizes in _IMAGENET.items()
}
VARIANTS |= {
    f"preact_resnet{depth}": (
        ResNetV2,
        {
            "stage_sizes": ((depth - 2) // 6,) * 3,
            "block": "basic",
            "width": 16,
            "stem": "cifar",
            "shortcut": "pad",
        },
    )
    for depth in (20, 56, 110)
}
VARIANTS["preact_resnet164"] = (
    ResNetV2,
    {"stage_sizes": ((164 - 2) // 9,) * 3, "block": "bottleneck", "width": 16, "stem": "cifar"},
)
