"""The first few by some order, as a mask of a static shape."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def first_of(order: Int[Array, " n"], count: Int[Array, ""] | int) -> Bool[Array, " n"]:
    """True at the `count` places that `order`, a permutation of 0 .. n - 1, names first."""
    return jnp.zeros(order.shape, bool).at[order].set(jnp.arange(order.size) < count)
