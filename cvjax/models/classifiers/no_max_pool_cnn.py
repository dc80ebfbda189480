"""A CNN without pooling, to show what pooling is for: three 3x3 convolutions on 28x28 grey images.

320 + 18,496 + 36,928 = 55,744 parameters without the head, whose first dense layer alone reads
22 * 22 * 64 = 30,976 values and takes 15,860,224 more; the last map sees only 7x7 pixels.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense


class NoMaxPoolCNN(nn.Module):
    """3x3 convolutions without padding, then a head of two dense layers; ReLU between all.

    He-normal weights, zero biases. The head fixes the input size that a set of parameters
    fits. Smallest input: 7x7. `pooled` is the flattened last map; `num_classes=None`
    drops the hidden dense layer with the head.
    """

    num_classes: int | None
    channels: tuple[int, ...] = (32, 64, 64)
    hidden: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        del train  # nothing here behaves differently in training
        options = {"kernel_init": nn.initializers.he_normal(), "dtype": self.dtype}
        x = image
        for i, channels in enumerate(self.channels, start=1):
            x = nn.relu(Conv(channels, (3, 3), padding=0, **options, name=f"conv{i}")(x))
        features = {"stride1": x, "pooled": x.reshape(x.shape[0], -1)}
        if self.num_classes is None:
            return None, features
        x = nn.relu(Dense(self.hidden, **options, name="hidden")(features["pooled"]))
        # The head and the logits are float32 whatever the compute type.
        return Dense(self.num_classes, dtype=jnp.float32, name="head")(x), features


VARIANTS = {"no_max_pool_cnn": (NoMaxPoolCNN, {})}
