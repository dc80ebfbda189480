"""AlexNet: one tower as public weights have it, and the two towers of 2012.

`alexnet`: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
https://arxiv.org/abs/1404.5997; 61,100,840 parameters at 1000 classes.
`alexnet_original`: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep
convolutional neural networks", https://papers.nips.cc/paper/4824; 60,965,224, with groups=1
62,378,344.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.ops.local_response_norm import local_response_norm
from cvjax.ops.pool import adaptive_avg_pool, max_pool

NORMAL = nn.initializers.normal(0.01)


class AlexNet(nn.Module):
    """Five convolutions, three overlapping max-pools, three dense layers; no normalisation.

    `dropout` precedes the two hidden dense layers. Made for 224 pixels; the last map is averaged to
    6x6, so that any size from 63 on fits. Initialised as PyTorch does, but with zero biases.
    """

    num_classes: int | None
    channels: tuple[int, ...] = (64, 192, 384, 256, 256)
    hidden: int = 4096
    dropout: float = 0.5
    dtype: Any = jnp.float32
    smallest_image: ClassVar[int] = 63

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = nn.relu(self._conv(0, 11, stride=4, padding=2)(image))
        features["stride4"] = x
        x = max_pool(x, window=3, stride=2)
        x = nn.relu(self._conv(1, 5, padding=2)(x))
        features["stride8"] = x
        x = max_pool(x, window=3, stride=2)
        for i in (2, 3, 4):
            x = nn.relu(self._conv(i, 3, padding=1)(x))
        features["stride16"] = x
        features["stride32"] = x = max_pool(x, window=3, stride=2)

        x = adaptive_avg_pool(x, 6)
        x = x.reshape(x.shape[0], -1)  # [B, 6 * 6 * C]
        for name in ("hidden1", "hidden2"):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            dense = Dense(self.hidden, kernel_init=LINEAR, dtype=self.dtype, name=name)
            x = nn.relu(dense(x))
        features["pooled"] = x
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features

    def _conv(self, i: int, window: int, *, stride: int = 1, padding: int) -> Conv:
        return Conv(
            self.channels[i],
            (window, window),
            strides=stride,
            padding=padding,
            kernel_init=LINEAR,
            dtype=self.dtype,
            name=f"conv{i + 1}",
        )


class OriginalAlexNet(nn.Module):
    """The network of 2012: two towers, response normalisation, overlapping pooling (fig. 2).

    `groups=2`: in convolutions 2, 4 and 5 a half of the channels reads its own half only, as the
    two graphics cards did; 1 joins them. `response_norm` follows convolutions 1 and 2.
    `pool_window=2` makes the pooling (stride 2) not overlap. `dropout` follows the two hidden
    dense layers. Weights start from N(0, 0.01^2), the biases of convolutions 2, 4, 5 and of the
    hidden layers at 1 (section 5); pixels are meant to reach from about -128 to 128.

    Made for 227 pixels (the paper's 224 do not give its 55x55 maps).
    Differs from the paper: the last map is averaged to 6x6, so that any size from 67 on fits; at
    227 this changes nothing.
    """

    num_classes: int | None
    channels: tuple[int, ...] = (96, 256, 384, 384, 256)
    groups: int = 2
    response_norm: bool = True
    pool_window: int = 3
    hidden: int = 4096
    dropout: float = 0.5
    dtype: Any = jnp.float32
    smallest_image: ClassVar[int] = 67

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = nn.relu(self._conv(0, 11, stride=4)(image))
        x = local_response_norm(x) if self.response_norm else x
        features["stride4"] = x
        x = max_pool(x, window=self.pool_window, stride=2)
        x = nn.relu(self._conv(1, 5, padding=2, groups=self.groups, bias=1.0)(x))
        x = local_response_norm(x) if self.response_norm else x
        features["stride8"] = x
        x = max_pool(x, window=self.pool_window, stride=2)
        x = nn.relu(self._conv(2, 3, padding=1)(x))
        x = nn.relu(self._conv(3, 3, padding=1, groups=self.groups, bias=1.0)(x))
        x = nn.relu(self._conv(4, 3, padding=1, groups=self.groups, bias=1.0)(x))
        features["stride16"] = x
        features["stride32"] = x = max_pool(x, window=self.pool_window, stride=2)

        x = adaptive_avg_pool(x, 6)
        x = x.reshape(x.shape[0], -1)  # [B, 6 * 6 * C]
        for name in ("hidden1", "hidden2"):
            dense = Dense(
                self.hidden,
                kernel_init=NORMAL,
                bias_init=nn.initializers.ones,
                dtype=self.dtype,
                name=name,
            )
            features["pooled"] = x = nn.relu(dense(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=NORMAL, dtype=jnp.float32, name="head")
        return head(x), features

    def _conv(
        self,
        i: int,
        window: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: float = 0.0,
    ) -> Conv:
        return Conv(
            self.channels[i],
            (window, window),
            strides=stride,
            padding=padding,
            feature_group_count=groups,
            kernel_init=NORMAL,
            bias_init=nn.initializers.constant(bias),
            dtype=self.dtype,
            name=f"conv{i + 1}",
        )


VARIANTS = {"alexnet": (AlexNet, {}), "alexnet_original": (OriginalAlexNet, {})}
