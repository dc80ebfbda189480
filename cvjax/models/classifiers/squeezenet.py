"""SqueezeNet (Iandola et al. 2016, https://arxiv.org/abs/1602.07360): AlexNet's accuracy, fiftieth.

Parameters at 1000 classes: squeezenet1_0 1,248,424 (table 1), squeezenet1_1 1,235,496 (the
authors' later version with a smaller stem and earlier pooling: 2.4 times fewer operations).
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.ops.pool import global_avg_pool, max_pool

# torchvision's. The paper's Caffe definition starts the fire modules by Xavier's rule.
HE_UNIFORM = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")


class SqueezeNet(nn.Module):
    """Stem, stages of fire modules, each stage behind a 3x3 max-pool of stride 2, then scores.

    Every second fire module is wider: the i-th squeezes to 16 (1 + i // 2) channels and expands
    to 8 times as many. The head is a 1x1 convolution with ReLU (scores are never negative),
    averaged over the map; `dropout` precedes it. Smallest input: 29 pixels.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    stem_channels: int
    stem_window: int
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = Conv(
            self.stem_channels,
            (self.stem_window, self.stem_window),
            strides=2,
            padding=0,
            kernel_init=HE_UNIFORM,
            dtype=self.dtype,
            name="stem_conv",
        )(image)
        features["stride2"] = x = nn.relu(x)
        fires = 0
        for i, modules in enumerate(self.stage_sizes):
            x = max_pool(x, window=3, stride=2, ceil_mode=True)
            for _ in range(modules):
                squeeze = 16 * (1 + fires // 2)
                # The paper counts the stem as layer 1.
                x = Fire(squeeze, 4 * squeeze, dtype=self.dtype, name=f"fire{fires + 2}")(x)
                fires += 1
            features[f"stride{4 * 2**i}"] = x

        features["pooled"] = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # The head and the logits are float32 whatever the compute type.
        head = Conv(
            self.num_classes,
            (1, 1),
            kernel_init=nn.initializers.normal(0.01),
            dtype=jnp.float32,
            name="head",
        )
        return global_avg_pool(nn.relu(head(x))), features


class Fire(nn.Module):
    """1x1 to few channels, from these 1x1 and 3x3 side by side; ReLU after each (fig. 1)."""

    squeeze: int
    expand: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        x = nn.relu(self._conv(self.squeeze, 1, "squeeze")(x))
        narrow = self._conv(self.expand, 1, "expand1x1")(x)
        wide = self._conv(self.expand, 3, "expand3x3")(x)
        return nn.relu(jnp.concatenate([narrow, wide], axis=-1))

    def _conv(self, channels: int, window: int, name: str) -> Conv:
        return Conv(
            channels,
            (window, window),
            padding=window // 2,
            kernel_init=HE_UNIFORM,
            dtype=self.dtype,
            name=name,
        )


VARIANTS = {
    "squeezenet1_0": (
        SqueezeNet,
        {"stage_sizes": (3, 4, 1), "stem_channels": 96, "stem_window": 7},
    ),
    "squeezenet1_1": (
        SqueezeNet,
        {"stage_sizes": (2, 2, 4), "stem_channels": 64, "stem_window": 3},
    ),
}
