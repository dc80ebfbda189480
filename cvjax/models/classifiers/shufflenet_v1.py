"""ShuffleNet v1: grouped 1x1 convolutions with shuffled channels between (Zhang et al. 2017,
https://arxiv.org/abs/1707.01083, table 1).

No other library's weights are read; widths and maps are the table's.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.channel_shuffle import channel_shuffle
from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import avg_pool, global_avg_pool, max_pool


class ShuffleNetV1(nn.Module):
    """3x3 stem, max-pool, stages of shuffled units, global average pooling, linear head.

    Stage i has `stage_sizes[i]` units of `channels[i]`, whose 1x1 convolutions have `groups`
    groups; the first halves the map. Any input size.
    """

    num_classes: int | None
    groups: int
    channels: tuple[int, ...]
    stage_sizes: tuple[int, ...] = (4, 8, 4)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        x = ConvNorm(24, 3, 2, dtype=self.dtype, name="stem")(image, train=train)
        features = {"stride2": x}
        features["stride4"] = x = max_pool(x, window=3, stride=2, padding=1)
        stride = 4
        for i, (units, channels) in enumerate(zip(self.stage_sizes, self.channels), start=1):
            for j in range(1, units + 1):
                x = Unit(
                    channels,
                    groups=self.groups,
                    down=j == 1,
                    # "we do not apply group convolution on the first pointwise layer" of stage 2
                    # of the network, because 24 channels come in (section 3.2)
                    first_groups=1 if i == j == 1 else self.groups,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j}",
                )(x, train=train)
            stride *= 2
            features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class Unit(nn.Module):
    """1x1 in groups to a quarter, shuffle, 3x3 depthwise, 1x1 in groups; plus the input (fig. 2b).

    `down`: the depthwise convolution and an average pooling of the input halve the map, and the
    two are joined instead of added (fig. 2c); the branch makes what is missing of `channels`.
    """

    channels: int
    groups: int
    first_groups: int
    down: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        inner = self.channels // 4
        linear = {"activation": lambda x: x, "dtype": self.dtype}
        reduce = ConvNorm(inner, 1, groups=self.first_groups, dtype=self.dtype, name="reduce")
        y = channel_shuffle(reduce(x, train=train), groups=self.groups)
        depthwise = ConvNorm(
            inner, 3, 2 if self.down else 1, groups=inner, name="depthwise", **linear
        )
        y = depthwise(y, train=train)
        out = self.channels - x.shape[-1] if self.down else self.channels
        y = ConvNorm(out, 1, groups=self.groups, name="expand", **linear)(y, train=train)
        if self.down:
            x = avg_pool(x, window=3, stride=2, padding=1)
            return nn.relu(jnp.concatenate([x, y], axis=-1))
        return materialized(nn.relu(x + y))


_CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}

VARIANTS = {
    f"shufflenet_v1_g{groups}": (ShuffleNetV1, {"groups": groups, "channels": channels})
    for groups, channels in _CHANNELS.items()
}
