"""Which of the many background anchors a detector learns from."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


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
    rank = jnp.zeros(loss.shape, jnp.int32).at[order].set(jnp.arange(loss.size, dtype=jnp.int32))
    return negative & (rank < ratio * positive.sum())
