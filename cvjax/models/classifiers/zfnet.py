"""ZFNet (Zeiler & Fergus 2013, https://arxiv.org/abs/1311.2901, fig. 3 and section 5.1).

`zfnet` has 512, 1024 and 512 channels in convolutions 3 to 5 (the paper's best single network,
table 2 (b)): 107,627,624 parameters at 1000 classes. With
channels=(96, 256, 384, 384, 256), as in figure 3, 62,357,608.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.ops.local_response_norm import local_response_norm
from cvjax.ops.pool import adaptive_avg_pool, max_pool

NORMAL = nn.initializers.normal(0.01)


class ZFNet(nn.Module):
    """AlexNet with a finer first layer: 7x7 of stride 2 instead of 11x11 of stride 4.

    `dropout` follows the two hidden dense layers. Weights start from N(0, 0.01^2), all biases at
    0; pixels are meant to reach from about -128 to 128. Made for 224 pixels.

    Differs from the paper: the last map is averaged to 6x6, so that any size from 63 on fits; at
    224 this changes nothing. The paper leaves open how maps are contrast-normalised and how
    their borders are padded: here AlexNet's response normalisation, and the padding and rounding
    up that give the paper's sizes (110, 55, 26, 13, 6).
    """

    num_classes: int | None
    channels: tuple[int, ...] = (96, 256, 512, 1024, 512)
    hidden: int = 4096
    dropout: float = 0.5
    dtype: Any = jnp.float32
    smallest_image: ClassVar[int] = 63

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = nn.relu(self._conv(0, 7, stride=2, padding=1)(image))
        features["stride2"] = x
        x = local_response_norm(max_pool(x, window=3, stride=2, ceil_mode=True))
        features["stride4"] = x
        x = nn.relu(self._conv(1, 5, stride=2, padding=0)(x))
        features["stride8"] = x
        x = local_response_norm(max_pool(x, window=3, stride=2, ceil_mode=True))
        for i in (2, 3, 4):
            x = nn.relu(self._conv(i, 3, padding=1)(x))
        features["stride16"] = x
        features["stride32"] = x = max_pool(x, window=3, stride=2)

        x = adaptive_avg_pool(x, 6)
        x = x.reshape(x.shape[0], -1)  # [B, 6 * 6 * C]
        for name in ("hidden1", "hidden2"):
            dense = Dense(self.hidden, kernel_init=NORMAL, dtype=self.dtype, name=name)
            features["pooled"] = x = nn.relu(dense(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=NORMAL, dtype=jnp.float32, name="head")
        return head(x), features

    def _conv(self, i: int, window: int, *, stride: int = 1, padding: int) -> Conv:
        return Conv(
            self.channels[i],
            (window, window),
            strides=stride,
            padding=padding,
            kernel_init=NORMAL,
            dtype=self.dtype,
            name=f"conv{i + 1}",
        )


VARIANTS = {"zfnet": (ZFNet, {})}
