"""The linear classifier: one score per class, W x + b on the pixels.

With softmax cross-entropy it is multinomial logistic regression, with a hinge loss a linear
multiclass SVM: the loss is the task's choice, the model is the same.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense


class Linear(nn.Module):
    """Scores linear in the pixels. `pooled` is the flattened image.

    Zero weights and biases: the problem is convex, and the first loss is exactly ln(K) with
    softmax and K - 1 with the hinge. The input size fixes the parameters. Any input size.
    """

    num_classes: int | None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        del train  # nothing here behaves differently in training
        pooled = image.reshape(image.shape[0], -1).astype(self.dtype)
        if self.num_classes is None:
            return None, {"pooled": pooled}
        zeros = nn.initializers.zeros
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=zeros, dtype=jnp.float32, name="head")
        return head(pooled), {"pooled": pooled}


VARIANTS = {"linear": (Linear, {})}
