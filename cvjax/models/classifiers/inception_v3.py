"""Inception v3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, table 1 and section 6).

Parameters at 1000 classes: 23,834,568; 27,161,264 with the auxiliary head, as in torchvision.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.inception import HALVE, Branch, Branches, Conv, Fork, InceptionStem, Pool, reduction
from cvjax.ops.pool import adaptive_avg_pool, avg_pool, global_avg_pool

# Torchvision's. Its truncation, at -2 and 2, is 20 standard deviations away and more.
INIT = nn.initializers.normal(0.1)


class InceptionV3(nn.Module):
    """Stem, modules on 35x35, 17x17 and 8x8 maps (of 299 pixels), average, linear head.

    `stage_sizes`: how many modules on each of the three sizes. `aux_heads`: a classifier on the
    last 17x17 map, whose logits are features["aux1_logits"]; the paper's authors add its loss
    times 0.4. Any input of 75 pixels or more.

    Differs from the paper: the 17x17 stage begins with 768 channels and the modules are as in the
    authors' released code, torchvision and the public weights, whose averages count the zeros
    of the border.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (3, 4, 2)
    aux_heads: bool = False
    dropout: float = 0.5
    dtype: Any = jnp.float32

    smallest_image: ClassVar[int] = 75

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        made = {"kernel_init": INIT, "epsilon": 1e-3, "dtype": self.dtype}
        x, features = InceptionStem(name="stem", **made)(image, train=train)

        for i, (table, blocks) in enumerate(zip(STAGES, self.stage_sizes)):
            if i > 0:
                x = Branches(REDUCTIONS[i - 1], name=f"reduction{i}", **made)(x, train=train)
            for j, branches in enumerate(table[:blocks]):
                block = Branches(branches, name=f"stage{i + 1}_block{j + 1}", **made)
                x = block(x, train=train)
            features[f"stride{8 * 2**i}"] = x
            if i == 1 and self.aux_heads and self.num_classes is not None:
                aux = AuxHead(self.num_classes, dtype=self.dtype, name="aux1")
                features["aux1_logits"] = aux(x, train=train)

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Dense(self.num_classes, kernel_init=INIT, dtype=jnp.float32, name="head")
        return head(x), features


class AuxHead(nn.Module):
    """Logits from the 17x17 map: mean to 5x5, 1x1 and valid 5x5 convolutions, average, linear.

    Differs from the paper: on maps smaller than 17x17 the means are of 5x5 adaptive bins.
    """

    num_classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        made = {"epsilon": 1e-3, "dtype": self.dtype}
        small = min(x.shape[1:3]) < 17
        x = adaptive_avg_pool(x, 5) if small else avg_pool(x, window=5, stride=3)
        x = ConvNorm(128, kernel_init=INIT, name="conv1", **made)(x, train=train)
        deviation = nn.initializers.normal(0.01)
        x = ConvNorm(768, window=5, padding=0, kernel_init=deviation, name="conv2", **made)(
            x, train=train
        )
        x = global_avg_pool(x)
        deviation = nn.initializers.normal(0.001)
        return Dense(self.num_classes, kernel_init=deviation, dtype=jnp.float32, name="head")(x)


def _projection(channels: int) -> Branch:
    return (Pool("avg"), Conv(channels))


def _five(projection: int) -> tuple[Branch, ...]:
    """5x5 and twice 3x3 (fig. 5, which has 3x3 twice only)."""
    return (
        (Conv(64),),
        (Conv(48), Conv(64, 5)),
        (Conv(64), Conv(96, 3), Conv(96, 3)),
        _projection(projection),
    )


def _seven(inner: int) -> tuple[Branch, ...]:
    """7x7 and twice 7x7, each as 1x7 and 7x1 (fig. 6)."""
    row, column = Conv(inner, (1, 7)), Conv(inner, (7, 1))
    return (
        (Conv(192),),
        (Conv(inner), row, Conv(192, (7, 1))),
        (Conv(inner), column, row, column, Conv(192, (1, 7))),
        _projection(192),
    )


_FORK = Fork((Conv(384, (1, 3)), Conv(384, (3, 1))))
# 1x3 beside 3x1 (fig. 7).
_WIDE = (
    (Conv(320),),
    (Conv(384), _FORK),
    (Conv(448), Conv(384, 3), _FORK),
    _projection(192),
)

STAGES = (
    (_five(32), _five(64), _five(64)),
    (_seven(128), _seven(160), _seven(160), _seven(192)),
    (_WIDE, _WIDE),
)
REDUCTIONS = (
    reduction(384, (64, 96, 96)),
    (
        (Conv(192), Conv(320, 3, stride=2, padding=0)),
        (Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, stride=2, padding=0)),
        (HALVE,),
    ),
)

VARIANTS = {"inception_v3": (InceptionV3, {})}
