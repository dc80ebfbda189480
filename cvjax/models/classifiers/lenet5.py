"""LeNet-5 as it is taught today (LeCun et al. 1998, "Gradient-based learning", section II.B).

61,706 parameters at 32x32x1 and 10 classes: 156 + 2,416 + 48,120 + 10,164 + 850.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.ops.pool import avg_pool, max_pool

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "relu": nn.relu,
}
POOLS = {"avg": avg_pool, "max": max_pool}


class LeNet5(nn.Module):
    """Two 5x5 convolutions with 2x2 pooling, then dense layers of 120, 84 and `num_classes`.

    Differs from the paper: every C3 map reads all six S2 maps, pooling has no parameters,
    the output layer is linear, tanh is not scaled. Glorot-uniform weights, zero biases.
    `padding` pads the first convolution only: 2 makes 28x28 images fit the parameters of
    32x32 ones. Smallest input without padding: 16x16. `pooled` is F6.
    """

    num_classes: int | None
    activation: Literal["tanh", "sigmoid", "relu"] = "tanh"
    pool: Literal["avg", "max"] = "avg"
    padding: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        del train  # nothing in LeNet-5 behaves differently in training
        init = nn.initializers.glorot_uniform()
        activation, pool = ACTIVATIONS[self.activation], POOLS[self.pool]
        features = {}
        x = nn.Conv(6, (5, 5), padding=self.padding, kernel_init=init, dtype=self.dtype, name="c1")(
            image
        )
        features["stride2"] = x = pool(activation(x), window=2)
        x = nn.Conv(16, (5, 5), padding=0, kernel_init=init, dtype=self.dtype, name="c3")(x)
        features["stride4"] = x = pool(activation(x), window=2)
        x = x.reshape(x.shape[0], -1)
        x = activation(nn.Dense(120, kernel_init=init, dtype=self.dtype, name="c5")(x))
        x = activation(nn.Dense(84, kernel_init=init, dtype=self.dtype, name="f6")(x))
        features["pooled"] = x
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        return nn.Dense(self.num_classes, dtype=jnp.float32, name="head")(x), features


VARIANTS = {"lenet5": (LeNet5, {})}
