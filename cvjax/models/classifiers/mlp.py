"""The multilayer perceptron on flattened pixels, with any number of hidden layers."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import ACTIVATIONS, Activation


class MLP(nn.Module):
    """Dense layers of the widths `hidden`, `activation` after each, then a linear head.

    With `activation="identity"` the whole is one linear map (W2 W1 = W3). He-normal weights for
    the ReLU kind, else Glorot-normal; zero biases. `dropout` follows every hidden layer.
    `pooled` is the last hidden layer. The input size fixes the parameters. Any input size.
    """

    num_classes: int | None
    hidden: tuple[int, ...] = (256, 128)
    activation: Activation = "relu"
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        saturating = self.activation in ("identity", "tanh", "sigmoid")
        init = nn.initializers.glorot_normal() if saturating else nn.initializers.he_normal()
        x = image.reshape(image.shape[0], -1).astype(self.dtype)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.Dense(width, kernel_init=init, dtype=self.dtype, name=f"hidden{i}")(x)
            x = ACTIVATIONS[self.activation](x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.num_classes is None:
            return None, {"pooled": x}
        # The head and the logits are float32 whatever the compute type.
        return nn.Dense(self.num_classes, dtype=jnp.float32, name="head")(x), {"pooled": x}


VARIANTS = {"mlp": (MLP, {})}
