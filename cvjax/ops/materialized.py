"""Values that are written to memory before anything reads them, on a CPU."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool


def materialized(x: Array) -> Array:
    """`x`, on a CPU in memory before anything reads it, and so is its gradient.

    XLA's CPU compiler copies cheap operations into each loop that reads their result. Where many
    loops do, or one reads every element many times, that is most of the work: of a training step of
    ConvNeXt-Tiny, 430 of 1,140 ms. At the end of a residual block it would add up all the blocks
    before, and in the gradient all those behind.

    `lax.optimization_barrier` does not prevent it, since the compiler drops barriers before it
    fuses. What it cannot see through is a branch.
    """
    if jax.default_backend() != "cpu":
        return x
    return lax.cond(always(), lambda value: value, jnp.zeros_like, x)


def always() -> Bool[Array, ""]:
    """True, as a condition of which the compiler does not know that it always holds.

    A barrier hides it, and is gone only after conditions have been simplified.
    """
    return lax.optimization_barrier(jnp.asarray(True))
