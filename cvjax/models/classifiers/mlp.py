"""The multilayer perceptron on flattened pixels, with any number of hidden layers."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import AnyActivation, activate, initial_weights
from cvjax.nn.alpha_dropout import AlphaDropout
from cvjax.nn.dense import Dense
from cvjax.nn.drop_connect import DropConnectDense
from cvjax.nn.maxout import Maxout
from cvjax.nn.norm_kinds import Norm, normalize


class MLP(nn.Module):
    """Dense layers of the widths `hidden`, `norm` and `activation` after each, a linear head.

    With `activation="identity"` the whole is one linear map (W2 W1 = W3). Initial weights as the
    nonlinearity asks for (`initial_weights`), zero biases. "selu" makes a self-normalising network,
    whose `dropout` is alpha dropout (Klambauer et al. 2017); "maxout" takes the larger of two
    linear maps, with twice the parameters. `negative_slope` is Leaky ReLU's alone.
    `dropout` follows every hidden layer; `drop_connect` is the share of every hidden layer's
    connections that an example loses in training. `pooled` is the last hidden layer. The input
    size fixes the parameters. Any input size.
    """

    num_classes: int | None
    hidden: tuple[int, ...] = (256, 128)
    activation: AnyActivation | Literal["maxout"] = "relu"
    negative_slope: float = 0.01
    norm: Norm = "none"
    norm_warmup: int = 5000
    dropout: float = 0.0
    drop_connect: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        if self.activation == "maxout" and self.drop_connect:
            raise ValueError("mlp: drop_connect has no maxout layer; set one of the two.")
        x = image.reshape(image.shape[0], -1).astype(self.dtype)
        for i, width in enumerate(self.hidden, start=1):
            x = self._linear(x, width, name=f"hidden{i}", train=train)
            x = normalize(
                x,
                self.norm,
                train=train,
                name=f"norm{i}",
                warmup=self.norm_warmup,
                dtype=self.dtype,
            )
            if self.activation != "maxout":
                slope = self.negative_slope
                x = activate(x, self.activation, name=f"activation{i}", negative_slope=slope)
            drop = AlphaDropout if self.activation == "selu" else nn.Dropout
            x = drop(self.dropout)(x, deterministic=not train)
        if self.num_classes is None:
            return None, {"pooled": x}
        # The head and the logits are float32 whatever the compute type.
        return Dense(self.num_classes, dtype=jnp.float32, name="head")(x), {"pooled": x}

    def _linear(self, x: Array, width: int, *, name: str, train: bool) -> Array:
        fields = {
            "kernel_init": initial_weights(self.activation),
            "dtype": self.dtype,
            "name": name,
        }
        if self.activation == "maxout":
            return Maxout(width, **fields)(x)
        if self.drop_connect:
            layer = DropConnectDense(width, self.drop_connect, **fields)
            return layer(x, deterministic=not train)
        return Dense(width, **fields)(x)


VARIANTS = {"mlp": (MLP, {})}
