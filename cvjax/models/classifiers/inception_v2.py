"""BN-Inception, Inception v2 (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167, fig. 5).

Parameters at 1000 classes: 11,188,288.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inception import Branch, Branches, Conv, Pool
from cvjax.nn.initializers import LINEAR
from cvjax.nn.norm import BatchNorm
from cvjax.nn.separable_conv import SeparableConv
from cvjax.ops.pool import global_avg_pool, max_pool

# Fig. 5's columns: 1x1; 3x3's reduction, 3x3; double 3x3's reduction, double 3x3; the pool and
# its projection.
TABLE = (
    ((64, 64, 64, 64, 96, "avg", 32), (64, 64, 96, 64, 96, "avg", 64)),
    (
        (224, 64, 96, 96, 128, "avg", 128),
        (192, 96, 128, 96, 128, "avg", 128),
        (160, 128, 160, 128, 160, "avg", 96),
        (96, 128, 192, 160, 192, "avg", 96),
    ),
    ((352, 192, 320, 160, 224, "avg", 128), (352, 192, 320, 192, 224, "max", 128)),
)
# The modules (3c) and (4e), which halve the map: 3x3's reduction, 3x3; the double one's.
HALVING = ((128, 160, 64, 96), (128, 192, 192, 256))


class BNInception(nn.Module):
    """Stem, modules with two 3x3 convolutions in place of 5x5, average, linear head.

    Modules of stride 2, not pools between them, halve the maps. No dropout. The first convolution
    is separable, with eight 7x7 windows for each colour (appendix). `stage_sizes`: how many
    of the table's modules come before the first of stride 2, between the two and after the
    second. Any input size.

    Differs from the paper: the pools of (4c) and (4d) are projected to 96 channels, with which
    the outputs have the 576 and 1024 that its table states; 128, as printed, would make 608 and
    1056. The authors' released code has 96, too.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (2, 4, 2)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        made = {"epsilon": 1e-3, "dtype": self.dtype}
        features = {}
        x = SeparableConv(
            64, window=7, stride=2, depth_multiplier=8, dtype=self.dtype, name="stem_conv1"
        )(image)
        x = nn.relu(BatchNorm(name="stem_norm1", **made)(x, use_running_average=not train))
        features["stride2"] = x
        x = max_pool(x, window=3, stride=2, padding=1)
        x = ConvNorm(64, name="stem_conv2", **made)(x, train=train)
        x = ConvNorm(192, window=3, name="stem_conv3", **made)(x, train=train)
        features["stride4"] = x
        x = max_pool(x, window=3, stride=2, padding=1)

        for i, (table, blocks) in enumerate(zip(TABLE, self.stage_sizes)):
            if i > 0:
                halving = _halving(*HALVING[i - 1])
                x = Branches(halving, name=f"reduction{i}", **made)(x, train=train)
            for j, channels in enumerate(table[:blocks]):
                module = Branches(_module(*channels), name=f"stage{i + 1}_block{j + 1}", **made)
                x = module(x, train=train)
            features[f"stride{8 * 2**i}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


def _module(
    direct: int,
    reduce: int,
    expand: int,
    reduce_double: int,
    expand_double: int,
    pool: str,
    projection: int,
) -> tuple[Branch, ...]:
    return (
        (Conv(direct),),
        (Conv(reduce), Conv(expand, 3)),
        (Conv(reduce_double), Conv(expand_double, 3), Conv(expand_double, 3)),
        (Pool(pool), Conv(projection)),
    )


def _halving(
    reduce: int, expand: int, reduce_double: int, expand_double: int
) -> tuple[Branch, ...]:
    return (
        (Conv(reduce), Conv(expand, 3, stride=2)),
        (Conv(reduce_double), Conv(expand_double, 3), Conv(expand_double, 3, stride=2)),
        (Pool("max", stride=2),),
    )


VARIANTS = {"bn_inception": (BNInception, {})}
