"""VGG networks (Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556, table 1).

vgg11, 13, 16, 19 are its columns A, B, D, E; vgg16_c is column C, whose third convolutions of
stages 3 to 5 are 1x1. `_bn`: BatchNorm after every convolution (torchvision's addition).
Parameters at 1000 classes: 132,863,336 / 133,047,848 / 138,357,544 / 143,667,240; vgg16_c
133,638,952. Of vgg16's, 123,642,856 are in the three dense layers and 14,714,688 below them.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import HE_FAN_OUT
from cvjax.nn.norm import BatchNorm
from cvjax.ops.pool import adaptive_avg_pool, global_avg_pool, max_pool

# The paper's. Its convolutions start so too, then from a trained column A; torchvision's from He's.
DENSE = nn.initializers.normal(0.01)


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each ending in a 2x2 max-pool, then three dense layers.

    Stage i has `stage_sizes[i]` convolutions of min(2^i, 8) * `width` channels.
    `pointwise_last`: the last convolution of the stages with three is 1x1.
    `ceil_pool`: of an odd side, the last row and column are pooled too, as SSD needs.
    `hidden`: width of the two dense layers below the head; None leaves them out, and `pooled` is
    the global average. `dropout` follows both. Smallest input: 2 ** len(stage_sizes), 32 pixels.

    Differs from the paper: the last map is averaged to 7x7, as torchvision does, so that any
    input size fits; at 224 pixels this changes nothing.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    batch_norm: bool = False
    pointwise_last: bool = False
    ceil_pool: bool = False
    width: int = 64
    hidden: int | None = 4096
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = image
        for i, layers in enumerate(self.stage_sizes):
            for j in range(layers):
                pointwise = self.pointwise_last and j == 2
                conv = Conv(
                    self.width * min(2**i, 8),
                    (1, 1) if pointwise else (3, 3),
                    padding=0 if pointwise else 1,
                    kernel_init=HE_FAN_OUT,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_conv{j + 1}",
                )
                x = conv(x)
                if self.batch_norm:
                    norm = BatchNorm(dtype=self.dtype, name=f"stage{i + 1}_norm{j + 1}")
                    x = norm(x, use_running_average=not train)
                x = nn.relu(x)
            features[f"stride{2**i}"] = x
            x = max_pool(x, window=2, ceil_mode=self.ceil_pool)
        features[f"stride{2 ** len(self.stage_sizes)}"] = x

        if self.hidden is None:
            features["pooled"] = x = global_avg_pool(x)
        else:
            x = adaptive_avg_pool(x, (7, 7))
            x = x.reshape(x.shape[0], -1)  # [B, 7 * 7 * C]
            x = nn.relu(self._dense("hidden1")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            features["pooled"] = x = nn.relu(self._dense("hidden2")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=DENSE, dtype=jnp.float32, name="head")
        return head(x), features

    def _dense(self, name: str) -> nn.Dense:
        return Dense(self.hidden, kernel_init=DENSE, dtype=self.dtype, name=name)


_STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}

VARIANTS = {f"vgg{depth}": (VGG, {"stage_sizes": sizes}) for depth, sizes in _STAGES.items()}
VARIANTS |= {
    f"vgg{depth}_bn": (VGG, {"stage_sizes": sizes, "batch_norm": True})
    for depth, sizes in _STAGES.items()
}
VARIANTS |= {"vgg16_c": (VGG, {"stage_sizes": _STAGES[16], "pointwise_last": True})}
