"""GoogLeNet, Inception v1 (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842, table 1).

Parameters at 1000 classes: 6,624,904; 13,004,888 with both auxiliary heads, as in torchvision.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inception import Branches, Conv, Pool
from cvjax.ops.pool import adaptive_avg_pool, global_avg_pool, max_pool

# Torchvision's. Its truncation, at -2 and 2, is 200 standard deviations away.
INIT = nn.initializers.normal(0.01)

# Channels of 1x1, 3x3's reduction, 3x3, 5x5's reduction, 5x5, the pool's projection.
TABLE = {
    3: ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    4: (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    5: ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
}
# The blocks (4a) and (4d) feed the auxiliary heads.
AUX = {(4, 1): "aux1", (4, 4): "aux2"}


class GoogLeNet(nn.Module):
    """Stem, Inception modules in stages 3 to 5, global average pooling, linear head.

    `stage_sizes`: how many of the table's blocks each stage has. `aux_heads`: classifiers on two
    inner maps, whose logits are features["aux1_logits"] and ["aux2_logits"]; the paper adds their
    losses times 0.3. Any input size.

    Differs from the paper, as torchvision and its weights do: BatchNorm after every convolution
    instead of two local response normalisations, 3x3 convolutions in the branch that should have
    5x5, a 2x2 pool before stage 5, dropout 0.2 instead of 0.4.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (2, 5, 2)
    aux_heads: bool = False
    dropout: float = 0.2
    aux_dropout: float = 0.7
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        made = {"kernel_init": INIT, "epsilon": 1e-3, "dtype": self.dtype}
        features = {}
        x = ConvNorm(64, window=7, stride=2, name="stem_conv1", **made)(image, train=train)
        features["stride2"] = x
        x = max_pool(x, window=3, stride=2, ceil_mode=True)
        x = ConvNorm(64, name="stem_conv2", **made)(x, train=train)
        x = ConvNorm(192, window=3, name="stem_conv3", **made)(x, train=train)
        features["stride4"] = x

        for (stage, table), blocks in zip(TABLE.items(), self.stage_sizes):
            x = max_pool(x, window=2 if stage == 5 else 3, stride=2, ceil_mode=True)
            for j, channels in enumerate(table[:blocks], start=1):
                x = Branches(_module(*channels), name=f"stage{stage}_block{j}", **made)(
                    x, train=train
                )
                if self.aux_heads and self.num_classes is not None and (stage, j) in AUX:
                    name = AUX[stage, j]
                    head = AuxHead(self.num_classes, self.aux_dropout, self.dtype, name=name)
                    features[f"{name}_logits"] = head(x, train=train)
            features[f"stride{2**stage}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=INIT, dtype=jnp.float32, name="head")
        return head(x), features


class AuxHead(nn.Module):
    """Logits from an inner map: mean to 4x4, 1x1 convolution to 128, dense 1024, dropout, dense."""

    num_classes: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        x = adaptive_avg_pool(x, 4)
        x = ConvNorm(128, kernel_init=INIT, epsilon=1e-3, dtype=self.dtype, name="conv")(
            x, train=train
        )
        x = x.reshape(x.shape[0], -1)  # [B, 2048]
        x = nn.relu(Dense(1024, kernel_init=INIT, dtype=self.dtype, name="hidden")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.num_classes, kernel_init=INIT, dtype=jnp.float32, name="head")(x)


def _module(
    direct: int, reduce3: int, expand3: int, reduce5: int, expand5: int, projection: int
) -> tuple[tuple[Conv | Pool, ...], ...]:
    return (
        (Conv(direct),),
        (Conv(reduce3), Conv(expand3, 3)),
        (Conv(reduce5), Conv(expand5, 3)),
        (Pool("max"), Conv(projection)),
    )


VARIANTS = {"googlenet": (GoogLeNet, {})}
