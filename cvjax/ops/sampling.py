"""A random share of positives and negatives for a detector to learn from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from cvjax.ops.ranking import first_of


def balanced_sample(
    key: Key[Array, ""],
    positive: Bool[Array, " a"],
    negative: Bool[Array, " a"],
    *,
    size: int,
    positive_share: float,
) -> tuple[Bool[Array, " a"], Bool[Array, " a"]]:
    """The positives and the negatives that are drawn, without replacement, `size` in all.

    At most the whole part of size x `positive_share` are positives, and negatives fill what the
    positives leave; fewer than `size` only where negatives run out. One image: vmap over keys.
    Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.3 (256 and 0.5).

    Raises:
        ValueError: if size is not positive or positive_share is not in [0, 1].
    """
    if size < 1 or not 0 <= positive_share <= 1:
        raise ValueError(
            f"balanced_sample: got size={size}, positive_share={positive_share}. "
            "size must be at least 1, positive_share from 0 to 1."
        )
    positive_key, negative_key = jax.random.split(key)
    positives = _draw(positive_key, positive, jnp.asarray(int(size * positive_share)))
    return positives, _draw(negative_key, negative, size - positives.sum())


def _draw(key: Array, among: Array, count: Array) -> Array:
    """`count` of the true places (all, if there are fewer), each set equally likely."""
    order = jnp.argsort(jnp.where(among, jax.random.uniform(key, among.shape), 2.0))
    return among & first_of(order, count)
