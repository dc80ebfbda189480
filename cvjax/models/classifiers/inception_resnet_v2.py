"""Inception-ResNet v2 (Szegedy et al. 2016, https://arxiv.org/abs/1602.07261, fig. 15 to 19).

Parameters at 1000 classes: 55,843,464, as in timm.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv as PlainConv
from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inception import HALVE, Branch, Branches, Conv, InceptionStem, Pool, reduction
from cvjax.nn.initializers import LINEAR
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import global_avg_pool

# The authors' released code: truncated Gaussian with variance 2 / fan_in.
INIT = nn.initializers.he_normal()


class InceptionResNetV2(nn.Module):
    """Stem, residual blocks on 35x35, 17x17 and 8x8 maps (of 299 pixels), average, linear head.

    `stage_sizes`: how many blocks on each of the three sizes; the last of the third has neither
    scaling nor ReLU, and a 1x1 convolution to 1536 channels follows it. Any input of 75 pixels or
    more.

    Differs from the paper, as the authors' released code does: Inception v3's stem and a module
    of four branches instead of Inception v4's stem, hence 64 channels less in all stages; 10, 20
    and 10 blocks instead of 5, 10 and 5; residuals scaled by 0.17, 0.1 and 0.2.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (10, 20, 10)
    dropout: float = 0.2
    dtype: Any = jnp.float32

    smallest_image: ClassVar[int] = 75

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        made = {"kernel_init": INIT, "epsilon": 1e-3, "dtype": self.dtype}
        x, features = InceptionStem(name="stem", **made)(image, train=train)
        x = Branches(MIX, name="stem_mix", **made)(x, train=train)

        for i, (branches, blocks) in enumerate(zip(MODULES, self.stage_sizes)):
            if i > 0:
                x = Branches(REDUCTIONS[i - 1], name=f"reduction{i}", **made)(x, train=train)
            for j in range(blocks):
                last = i == 2 and j == blocks - 1
                x = ResidualBlock(
                    branches,
                    scale=1.0 if last else SCALES[i],
                    relu=not last,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )(x, train=train)
            features[f"stride{8 * 2**i}"] = x
        x = ConvNorm(1536, name="final_conv", **made)(x, train=train)
        features[f"stride{4 * 2 ** len(self.stage_sizes)}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class ResidualBlock(nn.Module):
    """`x` plus `scale` times a 1x1 convolution of joined branches, and ReLU (fig. 16, 17, 19)."""

    branches: tuple[Branch, ...]
    scale: float
    relu: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        made = {"kernel_init": INIT, "dtype": self.dtype}
        y = Branches(self.branches, name="branches", **made)(x, train=train)
        # The expansion has a bias instead of BatchNorm.
        y = PlainConv(x.shape[-1], (1, 1), name="project", **made)(y)
        y = x + self.scale * y
        return materialized(nn.relu(y) if self.relu else y)


# Inception v3's first module, but for 96 and 64 channels in the outer branches.
MIX = (
    (Conv(96),),
    (Conv(48), Conv(64, 5)),
    (Conv(64), Conv(96, 3), Conv(96, 3)),
    (Pool("avg", count_padding=False), Conv(64)),
)
MODULES = (
    ((Conv(32),), (Conv(32), Conv(32, 3)), (Conv(32), Conv(48, 3), Conv(64, 3))),
    ((Conv(192),), (Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1)))),
    ((Conv(192),), (Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1)))),
)
SCALES = (0.17, 0.1, 0.2)
# Fig. 7 with k, l, m, n = 256, 256, 384, 384, and fig. 18.
REDUCTIONS = (
    reduction(384, (256, 256, 384)),
    (
        (Conv(256), Conv(384, 3, stride=2, padding=0)),
        (Conv(256), Conv(288, 3, stride=2, padding=0)),
        (Conv(256), Conv(288, 3), Conv(320, 3, stride=2, padding=0)),
        (HALVE,),
    ),
)

VARIANTS = {"inception_resnet_v2": (InceptionResNetV2, {})}
