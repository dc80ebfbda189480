"""The small CNN for 28x28 grey images: two 3x3 convolutions, two max-pools, two dense layers.

At 28x28x1 and 10 classes: 320 + 18,496 + 401,536 + 1,290 = 421,642 parameters.
"""

import math
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import AnyActivation, activate, initial_weights
from cvjax.nn.alpha_dropout import AlphaDropout
from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.fractional_pool import FractionalMaxPool
from cvjax.nn.norm_kinds import Norm, normalize
from cvjax.ops.local_response_norm import local_response_norm
from cvjax.ops.pool import max_pool


class SmallCNN(nn.Module):
    """conv 3x3 - pool - conv 3x3 - pool - dense - dense, ReLU after all but the last.

    "same" padding; He-normal weights (`initial_weights` for another nonlinearity), zero biases.
    The dense layer fixes the input size that a set of parameters fits. Smallest input: 4x4.
    `pooled` is the hidden dense layer. `dropout` is the rate in front of the head, alpha dropout's
    with "selu"; it has no parameters.

    `norm` stands before every nonlinearity, "lrn" (Krizhevsky et al. 2012, section 3.3) behind
    those of the convolutions; convolutions keep their biases whichever it is. `norm_warmup` is
    batch_renorm's and `negative_slope` Leaky ReLU's alone.
    `pool`: "max" = 2x2 windows that tile the map; "overlapping" = 3x3 windows at stride 2
    (Krizhevsky et al., section 3.4); "fractional" = Graham 2014, by a factor of sqrt(2) each.
    """

    num_classes: int | None
    channels: tuple[int, ...] = (32, 64)
    hidden: int = 128
    dropout: float = 0.0
    activation: AnyActivation = "relu"
    negative_slope: float = 0.01
    norm: Norm | Literal["lrn"] = "none"
    norm_warmup: int = 5000
    pool: Literal["max", "overlapping", "fractional"] = "max"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        init = initial_weights(self.activation)
        features = {}
        x = image
        for i, channels in enumerate(self.channels, start=1):
            conv = Conv(channels, (3, 3), kernel_init=init, dtype=self.dtype, name=f"conv{i}")
            x = self._activate(conv(x), str(i), train=train)
            if self.norm == "lrn":
                x = local_response_norm(x)
            x = self._pool(x, train=train)
            # Fractional pooling leaves no whole stride behind odd layers.
            if self.pool != "fractional":
                features[f"stride{2**i}"] = x
        x = x.reshape(x.shape[0], -1)
        hidden = Dense(self.hidden, kernel_init=init, dtype=self.dtype, name="hidden")
        x = self._activate(hidden(x), "_hidden", train=train)
        drop = AlphaDropout if self.activation == "selu" else nn.Dropout
        features["pooled"] = x = drop(self.dropout)(x, deterministic=not train)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        return Dense(self.num_classes, dtype=jnp.float32, name="head")(x), features

    def _activate(self, x: Array, suffix: str, *, train: bool) -> Array:
        kind = "none" if self.norm == "lrn" else self.norm
        if kind == "instance" and x.ndim == 2:
            kind = "layer"  # the dense layer has no map: a unit alone has no variance
        warmup, dtype = self.norm_warmup, self.dtype
        x = normalize(x, kind, train=train, name=f"norm{suffix}", warmup=warmup, dtype=dtype)
        slope = self.negative_slope
        return activate(x, self.activation, name=f"activation{suffix}", negative_slope=slope)

    def _pool(self, x: Array, *, train: bool) -> Array:
        if self.pool == "overlapping":
            return max_pool(x, window=3, stride=2, padding=1)
        if self.pool == "fractional":
            return FractionalMaxPool(math.sqrt(2))(x, train=train)
        return max_pool(x, window=2)


VARIANTS = {"small_cnn": (SmallCNN, {})}
