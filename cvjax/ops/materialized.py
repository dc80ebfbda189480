"""Values that are written to memory before anything reads them, on a CPU."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def materialized(x: Array, witness: Array) -> Array:
    """`x`. `witness` is any array of the program that is not a constant, best a small one.

    XLA's CPU compiler copies cheap operations into each loop that reads their result. Where many
    loops do, or one reads every element many times, that is most of the work: of a training step of
    ConvNeXt-Tiny, 430 of 1,140 ms. `lax.optimization_barrier` does not prevent it, since the
    compiler drops barriers before it fuses. What it cannot see through is a branch: this is one
    whose condition holds whatever the first bits of `witness` are.
    """
    bits = lax.bitcast_convert_type(witness[(0,) * witness.ndim].astype(jnp.float32), jnp.int32)
    return lax.cond((bits | 1) != 0, lambda value: value, jnp.zeros_like, x)
