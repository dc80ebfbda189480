"""Which of the many background anchors a detector learns from."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cvjax.ops.ranking import first_of


def hard_negatives(
    loss: Float[Array, " a"],
    positive: Bool[Array, " a"],
    negative: Bool[Array, " a"],
    *,
    ratio: int = 3,
) -> Bool[Array, " a"]:
    """The negatives of the highest loss, `ratio` for each positive (or all, if there are fewer).

    Of equal losses the first count. One image: vmap over a batch. An image without positives gets
    no negatives. Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 2.2.
    """
    order = jnp.argsort(jnp.where(negative, loss, -jnp.inf), descending=True, stable=True)
    return negative & first_of(order, ratio * positive.sum())
