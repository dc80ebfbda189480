"""An autoencoder's encoder with a linear head: a classifier that few labels can train.

Its `encoder` and `code` have the paths and shapes of `cvjax.models.generators.autoencoder`'s, so
`train.init_rules = (("(encoder|code)/.*", r"\\g<0>"), ("head/.*", None))` takes them over.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.dense import Dense
from cvjax.nn.image_coders import Body, ImageEncoder


class CoderClassifier(nn.Module):
    """Encoder, code of `latent` values, linear head on its ReLU. `pooled` is the code.

    `body`, `widths`: of the encoder (`cvjax.nn.image_coders`). Images in [0, 1], without mean and
    std; a "dense" body fixes their size.
    """

    num_classes: int | None
    latent: int = 32
    body: Body = "dense"
    widths: tuple[int, ...] = (512, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        del train
        x = ImageEncoder(self.body, self.widths, self.dtype, name="encoder")(2 * image - 1)
        code = Dense(self.latent, dtype=self.dtype, name="code")(x)
        if self.num_classes is None:
            return None, {"pooled": code}
        head = Dense(self.num_classes, dtype=jnp.float32, name="head")
        return head(nn.relu(code)), {"pooled": code}


VARIANTS = {"coder_classifier": (CoderClassifier, {})}
