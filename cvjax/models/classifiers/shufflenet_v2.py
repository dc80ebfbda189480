"""ShuffleNet v2 (Ma et al. 2018, https://arxiv.org/abs/1807.11164, table 5).

Parameters at 1000 classes, as in torchvision: width 0.5 1,366,792, 1.0 2,278,604, 1.5 3,503,624,
2.0 7,393,996.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.channel_shuffle import channel_shuffle
from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.ops.pool import global_avg_pool, max_pool


class ShuffleNetV2(nn.Module):
    """3x3 stem, max-pool, stages of split-and-shuffle units, 1x1 convolution, pooling, linear head.

    The first unit of every stage halves the map; stage i has `stage_sizes[i]` units of
    `channels[i]`. Any input size.
    """

    num_classes: int | None
    channels: tuple[int, ...]
    stage_sizes: tuple[int, ...] = (4, 8, 4)
    last_width: int = 1024
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
                unit = Unit(channels, down=j == 1, dtype=self.dtype, name=f"stage{i}_block{j}")
                x = unit(x, train=train)
            stride *= 2
            features[f"stride{stride}"] = x
        x = ConvNorm(self.last_width, 1, dtype=self.dtype, name="last")(x, train=train)
        features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class Unit(nn.Module):
    """Half of the channels pass 1x1, 3x3 depthwise, 1x1; the halves are joined and shuffled.

    (Fig. 3c.) `down`: nothing is split, both branches see every channel and halve the map (3d).
    """

    channels: int
    down: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        half, stride = self.channels // 2, 2 if self.down else 1

        def pointwise(name: str, x: Array) -> Array:
            return ConvNorm(half, 1, dtype=self.dtype, name=name)(x, train=train)

        def depthwise(name: str, x: Array) -> Array:
            linear = {"activation": lambda x: x, "dtype": self.dtype}
            conv = ConvNorm(x.shape[-1], 3, stride, groups=x.shape[-1], name=name, **linear)
            return conv(x, train=train)

        if self.down:
            kept = pointwise("shortcut_pointwise", depthwise("shortcut_depthwise", x))
        else:
            kept, x = jnp.split(x, 2, axis=-1)
        x = pointwise("project", depthwise("depthwise", pointwise("reduce", x)))
        return channel_shuffle(jnp.concatenate([kept, x], axis=-1), groups=2)


VARIANTS = {
    "shufflenet_v2_x0_5": (ShuffleNetV2, {"channels": (48, 96, 192)}),
    "shufflenet_v2_x1_0": (ShuffleNetV2, {"channels": (116, 232, 464)}),
    "shufflenet_v2_x1_5": (ShuffleNetV2, {"channels": (176, 352, 704)}),
    "shufflenet_v2_x2_0": (ShuffleNetV2, {"channels": (244, 488, 976), "last_width": 2048}),
}
