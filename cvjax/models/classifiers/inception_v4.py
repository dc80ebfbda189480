"""Inception v4 (Szegedy et al. 2016, https://arxiv.org/abs/1602.07261, fig. 3 to 9).

Parameters at 1000 classes: 42,679,816, as in timm.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inception import HALVE, Branch, Branches, Conv, Fork, Pool, reduction
from cvjax.nn.initializers import LINEAR
from cvjax.ops.pool import global_avg_pool

# The authors' released code: truncated Gaussian with variance 2 / fan_in.
INIT = nn.initializers.he_normal()


class InceptionV4(nn.Module):
    """Stem, modules on 35x35, 17x17 and 8x8 maps (of 299 pixels), average, linear head.

    `stage_sizes`: how many modules on each of the three sizes. Any input of 75 pixels or more.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (4, 7, 3)
    dropout: float = 0.2
    dtype: Any = jnp.float32

    smallest_image: ClassVar[int] = 75

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        made = {"kernel_init": INIT, "epsilon": 1e-3, "dtype": self.dtype}
        features = {}
        x = ConvNorm(32, 3, stride=2, padding=0, name="stem_conv1", **made)(image, train=train)
        x = ConvNorm(32, 3, padding=0, name="stem_conv2", **made)(x, train=train)
        x = ConvNorm(64, 3, name="stem_conv3", **made)(x, train=train)
        features["stride2"] = x
        for i, branches in enumerate(STEM):
            x = Branches(branches, name=f"stem_block{i + 1}", **made)(x, train=train)
            if i == 1:
                features["stride4"] = x

        for i, (module, blocks) in enumerate(zip(MODULES, self.stage_sizes)):
            if i > 0:
                x = Branches(REDUCTIONS[i - 1], name=f"reduction{i}", **made)(x, train=train)
            for j in range(blocks):
                x = Branches(module, name=f"stage{i + 1}_block{j + 1}", **made)(x, train=train)
            features[f"stride{8 * 2**i}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


def _projection(channels: int) -> Branch:
    return (Pool("avg", count_padding=False), Conv(channels))


_ROW, _COLUMN = (1, 7), (7, 1)
_FORK = Fork((Conv(256, (1, 3)), Conv(256, (3, 1))))

# Fig. 3: the joints of the stem.
STEM = (
    ((HALVE,), (Conv(96, 3, stride=2, padding=0),)),
    (
        (Conv(64), Conv(96, 3, padding=0)),
        (Conv(64), Conv(64, _ROW), Conv(64, _COLUMN), Conv(96, 3, padding=0)),
    ),
    ((Conv(192, 3, stride=2, padding=0),), (HALVE,)),
)
# Fig. 4, 5 and 6: Inception-A, B and C.
MODULES = (
    (
        (Conv(96),),
        (Conv(64), Conv(96, 3)),
        (Conv(64), Conv(96, 3), Conv(96, 3)),
        _projection(96),
    ),
    (
        (Conv(384),),
        (Conv(192), Conv(224, _ROW), Conv(256, _COLUMN)),
        (Conv(192), Conv(192, _COLUMN), Conv(224, _ROW), Conv(224, _COLUMN), Conv(256, _ROW)),
        _projection(128),
    ),
    (
        (Conv(256),),
        (Conv(384), _FORK),
        (Conv(384), Conv(448, (3, 1)), Conv(512, (1, 3)), _FORK),
        _projection(256),
    ),
)
# Fig. 7 with k, l, m, n = 192, 224, 256, 384, and fig. 8.
REDUCTIONS = (
    reduction(384, (192, 224, 256)),
    (
        (Conv(192), Conv(192, 3, stride=2, padding=0)),
        (Conv(256), Conv(256, _ROW), Conv(320, _COLUMN), Conv(320, 3, stride=2, padding=0)),
        (HALVE,),
    ),
)

VARIANTS = {"inception_v4": (InceptionV4, {})}
