"""SENets as they were published (Hu et al. 2017, https://arxiv.org/abs/1709.01507).

senet154 won ILSVRC 2017: 115,088,984 parameters at 1000 classes. legacy_seresnet50/101/152 and
legacy_seresnext50/101_32x4d are the paper's other nets: 28,088,024 / 49,326,872 / 66,821,848 and
27,559,896 / 48,955,416. They are what timm calls `legacy_*`, from the authors' Caffe files.
ResNets of today with the same gates are `seresnet50` and its like in resnet.py.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.nn.squeeze_excite import SqueezeExcite
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import global_avg_pool, max_pool


class SENet(nn.Module):
    """Stem, max-pool, stages of gated bottlenecks, global average pooling, dropout, linear head.

    `block`: "resnet" = the stride is the first 1x1 convolution's, "resnext" = the 3x3's,
    "senet" = as "resnext", but the first 1x1 convolution has half of the 3x3's channels, and a
    shortcut that changes the shape is a 3x3 convolution (appendix).
    `stem`: "imagenet" = 7x7 stride 2, "deep" = three 3x3, the last twice as wide as `width`.
    The 3x3 convolutions of the first stage have `groups` groups of `group_width` channels,
    doubled in every further stage. Any input size of at least 5x5 pixels.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    block: Literal["resnet", "resnext", "senet"]
    groups: int = 1
    group_width: int = 64
    width: int = 64
    stem: Literal["imagenet", "deep"] = "imagenet"
    squeeze: int = 16
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        if self.stem == "imagenet":
            x = ConvNorm(self.width, 7, 2, dtype=self.dtype, name="stem")(image, train=train)
        else:
            x = image
            convs = ((self.width, 2), (self.width, 1), (2 * self.width, 1))
            for i, (channels, stride) in enumerate(convs, start=1):
                conv = ConvNorm(channels, 3, stride, dtype=self.dtype, name=f"stem{i}")
                x = conv(x, train=train)
        features["stride2"] = x
        # Caffe's rule: no padding, and the last window may hang over.
        x = max_pool(x, window=3, stride=2, ceil_mode=True)

        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                block = SEBottleneck(
                    width=4 * self.width * 2**i,
                    inner_width=self.groups * self.group_width * 2**i,
                    stride=2 if i > 0 and j == 0 else 1,
                    groups=self.groups,
                    kind=self.block,
                    squeeze=self.squeeze,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = block(x, train=train)
            features[f"stride{4 * 2**i}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class SEBottleneck(nn.Module):
    """relu(x + gate * (conv 1x1 - conv 3x3 - conv 1x1)) (fig. 3)."""

    width: int
    inner_width: int
    stride: int
    groups: int
    kind: Literal["resnet", "resnext", "senet"]
    squeeze: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        first, second = (self.stride, 1) if self.kind == "resnet" else (1, self.stride)
        reduced = self.inner_width // 2 if self.kind == "senet" else self.inner_width
        y = ConvNorm(reduced, 1, first, dtype=self.dtype, name="conv1")(x, train=train)
        y = ConvNorm(
            self.inner_width, 3, second, groups=self.groups, dtype=self.dtype, name="conv2"
        )(y, train=train)
        linear = {"activation": lambda x: x, "dtype": self.dtype}
        y = ConvNorm(self.width, 1, name="conv3", **linear)(y, train=train)
        squeezed = max(self.width // self.squeeze, 1)
        y = SqueezeExcite(squeezed, dtype=self.dtype, name="squeeze_excite")(y)
        if x.shape != y.shape:
            window = 3 if self.kind == "senet" and self.stride > 1 else 1
            shortcut = ConvNorm(self.width, window, self.stride, name="shortcut", **linear)
            x = shortcut(x, train=train)
        return materialized(nn.relu(x + y))


VARIANTS = {
    "senet154": (
        SENet,
        {
            "stage_sizes": (3, 8, 36, 3),
            "block": "senet",
            "groups": 64,
            "group_width": 4,
            "stem": "deep",
            "dropout": 0.2,
        },
    )
}
VARIANTS |= {
    f"legacy_seresnet{depth}": (SENet, {"stage_sizes": sizes, "block": "resnet"})
    for depth, sizes in ((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3)))
}
VARIANTS |= {
    f"legacy_seresnext{depth}_32x4d": (
        SENet,
        {"stage_sizes": sizes, "block": "resnext", "groups": 32, "group_width": 4},
    )
    for depth, sizes in ((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)))
}
