"""Two training examples mixed into one, and how much of each label it carries.

Both functions return `(mixed, weight)`, weight the share of `other`, so that the loss is
(1 - weight) * loss(own label) + weight * loss(other's label).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.erase import rectangle
from cvjax.image.options import Number, check_number

Image = Float[Array, "h w c"]


def mixup(
    key: Key[Array, ""], image: Image, other: Image, *, alpha: Number = 0.2
) -> tuple[Image, Float[Array, ""]]:
    """The mean of `image` and `other`, weighted by a draw from Beta(alpha, alpha).

    Zhang et al. 2018 (https://arxiv.org/abs/1710.09412), whose definition draws a weight for every
    pair, and so does this; their listing draws one a batch. They train ImageNet with 0.2.
    """
    weight = _beta(key, alpha)
    return (1 - weight) * image + weight * other, weight


def cutmix(
    key: Key[Array, ""], image: Image, other: Image, *, alpha: Number = 1.0
) -> tuple[Image, Float[Array, ""]]:
    """`image` with a rectangle of `other` pasted at the place that it had there.

    Yun et al. 2019 (https://arxiv.org/abs/1905.04899, section 3.1): its share of the area is drawn
    from Beta(alpha, alpha), its shape is the picture's, its centre anywhere. What the border
    cuts off is not pasted, and `weight` is the share of pixels that were.
    """
    height, width, _ = image.shape
    area_key, row_key, column_key = jax.random.split(key, 3)
    side = jnp.sqrt(_beta(area_key, alpha))
    rows = jnp.rint(side * height).astype(jnp.int32)
    columns = jnp.rint(side * width).astype(jnp.int32)
    top = jax.random.randint(row_key, (), 0, height) - rows // 2
    left = jax.random.randint(column_key, (), 0, width) - columns // 2
    pasted = rectangle(top, left, top + rows, left + columns, shape=(height, width))
    return jnp.where(pasted[..., None], other, image), pasted.mean()


def _beta(key: Key[Array, ""], alpha: Number) -> Float[Array, ""]:
    if not check_number("alpha", alpha, low=0.0):
        raise ValueError("alpha=0 mixes nothing: leave the augmentation out instead.")
    return jax.random.beta(key, alpha, alpha)
