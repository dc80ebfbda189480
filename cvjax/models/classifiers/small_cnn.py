"""The small CNN for 28x28 grey images: two 3x3 convolutions, two max-pools, two dense layers.

At 28x28x1 and 10 classes: 320 + 18,496 + 401,536 + 1,290 = 421,642 parameters.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.ops.pool import max_pool


class SmallCNN(nn.Module):
    """conv 3x3 - pool - conv 3x3 - pool - dense - dense, ReLU after all but the last.

    "same" padding; He-normal weights, zero biases. The dense layer fixes the input size
    that a set of parameters fits. Smallest input: 4x4. `pooled` is the hidden dense layer.
    `dropout` is the rate in front of the head; it has no parameters.
    """

    num_classes: int | None
    channels: tuple[int, ...] = (32, 64)
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        init = nn.initializers.he_normal()
        features = {}
        x = image
        for i, channels in enumerate(self.channels, start=1):
            conv = nn.Conv(channels, (3, 3), kernel_init=init, dtype=self.dtype, name=f"conv{i}")
            x = max_pool(nn.relu(conv(x)), window=2)
            features[f"stride{2**i}"] = x
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.hidden, kernel_init=init, dtype=self.dtype, name="hidden")(x))
        features["pooled"] = x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        return nn.Dense(self.num_classes, dtype=jnp.float32, name="head")(x), features


VARIANTS = {"small_cnn": (SmallCNN, {})}
