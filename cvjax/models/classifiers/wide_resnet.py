"""Wide residual networks for CIFAR (Zagoruyko & Komodakis 2016, https://arxiv.org/abs/1605.07146).

wrn_d_k has d layers, d = 6n + 4 with n blocks a stage, and k times the channels of a ResNet.
Parameters at 10 classes (table 4): wrn_40_1 0.6, 40_2 2.2, 40_4 8.9, 40_8 35.7, 28_10 36.5, 28_12
52.5, 22_8 17.2, 22_10 26.8, 16_8 11.0, 16_10 17.1 million; wrn_16_4 2.7. (The ImageNet net of the
same paper is `wide_resnet50_2` in resnet.py.)
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.nn.preactivation import PreActBasicBlock, conv, norm_relu
from cvjax.ops.pool import global_avg_pool


class WideResNet(nn.Module):
    """conv 3x3, stages of wide pre-activation blocks, BN, ReLU, average pooling, head (table 1).

    The stem has `width` channels, stage i has `width` `widen` 2^i; every stage but the first
    halves the map. `dropout`: between the two convolutions of each block (0.3 on CIFAR, 0.4 on
    SVHN). Maps at all strides but the last are sums that no activation has seen. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    widen: int
    width: int = 16
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = conv(self.width, 3, dtype=self.dtype, name="stem_conv")(image)
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                block = PreActBasicBlock(
                    width=self.width * self.widen * 2**i,
                    stride=2 if i > 0 and j == 0 else 1,
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = block(x, train=train)
            features[f"stride{2**i}"] = x

        x = norm_relu(x, train=train, dtype=self.dtype, name="final_norm")
        features[f"stride{2 ** (len(self.stage_sizes) - 1)}"] = x
        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


_TABLE = [
    *((16, 4), (16, 8), (16, 10), (22, 8), (22, 10), (28, 10), (28, 12)),
    *((40, 1), (40, 2), (40, 4), (40, 8)),
]

VARIANTS = {
    f"wrn_{depth}_{widen}": (
        WideResNet,
        {"stage_sizes": ((depth - 4) // 6,) * 3, "widen": widen},
    )
    for depth, widen in _TABLE
}
