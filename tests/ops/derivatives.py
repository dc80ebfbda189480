"""A function's values and gradients as one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jaxtyping import Array


@partial(jax.jit, static_argnums=0)
def values_and_gradients(
    function: Callable[..., Any], arguments: tuple[Array, ...], cotangents: Any
) -> tuple[Array, ...]:
    """What `function` gives, then the gradients of its arguments where `cotangents` come back.

    Compiled as users run it, and as one program: op by op, a test spends seconds on compiling.
    """
    values, pull = jax.vjp(function, *arguments)
    return *jax.tree.leaves(values), *pull(cotangents)
