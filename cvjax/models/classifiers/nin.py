"""Network in Network (Lin, Chen & Yan 2013, https://arxiv.org/abs/1312.4400).

Sizes as in the Caffe definitions that its authors released: nin_cifar, 966,986 parameters at
10 classes and 32 pixels; nin_imagenet, 7,595,176 at 1000 classes and 224 pixels.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.ops.pool import avg_pool, global_avg_pool, max_pool

# The authors'. From He's variance, at learning rate 0.05, all scores fell below 0 and stayed there.
NORMAL = nn.initializers.normal(0.05)


class NetworkInNetwork(nn.Module):
    """Mlpconv stages with pooling between them, and the average of a score map as the logits.

    Stage i is a convolution of `windows[i]` and 1x1 ones after it, `layers[i]` in all, with ReLU
    after each; `channels` gives their widths one after another. The head is the last stage's last
    1x1 convolution, with ReLU as well (scores are never negative). Pooling is 3x3 of stride 2 and
    rounds sizes up. `average_pools`: which of the poolings (from 0) average; the others take
    the maximum. `dropout` follows those in `dropped_pools`. A first convolution with a
    `stem_stride` is not padded.
    """

    num_classes: int | None
    windows: tuple[int, ...]
    layers: tuple[int, ...]
    channels: tuple[int, ...]
    stem_stride: int = 1
    average_pools: tuple[int, ...] = ()
    dropped_pools: tuple[int, ...] = ()
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @property
    def smallest_image(self) -> int:
        """The side that leaves a pixel of the last map."""
        pools = len(self.layers) - 1
        size = 3 * 2 ** (pools - 1) if pools else 1  # of the first stage's map
        return size if self.stem_stride == 1 else (size - 1) * self.stem_stride + self.windows[0]

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = image
        widths = iter(self.channels)
        for i, (window, layers) in enumerate(zip(self.windows, self.layers)):
            if i > 0:
                pool = avg_pool if i - 1 in self.average_pools else max_pool
                x = pool(x, window=3, stride=2, ceil_mode=True)
                if i - 1 in self.dropped_pools:
                    x = nn.Dropout(self.dropout, deterministic=not train)(x)
            stride = self.stem_stride if i == 0 else 1
            x = Conv(
                next(widths),
                (window, window),
                strides=stride,
                padding=window // 2 if stride == 1 else 0,
                kernel_init=NORMAL,
                dtype=self.dtype,
                name=f"stage{i + 1}_conv",
            )(x)
            x = nn.relu(x)
            for j in range(1, layers):
                name = f"stage{i + 1}_mlp{j}"
                mlp = Conv(next(widths), (1, 1), kernel_init=NORMAL, dtype=self.dtype, name=name)
                x = nn.relu(mlp(x))
            features[f"stride{self.stem_stride * 2**i}"] = x

        features["pooled"] = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Conv(self.num_classes, (1, 1), kernel_init=NORMAL, dtype=jnp.float32, name="head")
        return global_avg_pool(nn.relu(head(x))), features


VARIANTS = {
    "nin_cifar": (
        NetworkInNetwork,
        {
            "windows": (5, 5, 3),
            "layers": (3, 3, 2),
            "channels": (192, 160, 96, 192, 192, 192, 192, 192),
            # The paper has max-pooling throughout.
            "average_pools": (1,),
            "dropped_pools": (0, 1),
        },
    ),
    "nin_imagenet": (
        NetworkInNetwork,
        {
            "windows": (11, 5, 3, 3),
            "layers": (3, 3, 3, 2),
            "channels": (96, 96, 96, 256, 256, 256, 384, 384, 384, 1024, 1024),
            "stem_stride": 4,
            "dropped_pools": (2,),
        },
    ),
}
