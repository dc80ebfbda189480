"""Penalties on parameters, added to a loss: L2, L1 and their sum, the elastic net."""

import re
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Weights of dense and convolutional layers; biases and normalisation scales are left alone.
WEIGHTS = r"(.*/)?kernel"


def elastic_penalty(
    params: Any, *, l1: float = 0.0, l2: float = 0.0, paths: str = WEIGHTS
) -> Float[Array, ""]:
    """l1 * sum |w| + l2 * sum w^2 over the parameters whose whole path matches `paths`.

    Without the factor 1/2 that some texts put before `l2`: its gradient is 2 * l2 * w, so under
    plain SGD an optimizer's `weight_decay` d is l2 = d / 2. Unlike decay inside an optimizer, the
    penalty is part of the loss that is reported, and adaptive optimizers rescale its gradient.
    Paths are joined by slashes, as in "stage1_block1/conv1/kernel".

    Raises:
        ValueError: if no parameter matches.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    chosen = [leaf for path, leaf in named.items() if re.fullmatch(paths, path)]
    if not chosen:
        raise ValueError(
            f"penalty: no parameter matches {paths!r}. Parameters: {sorted(named)}.\n"
            "  Give a pattern for whole paths, such as '(.*/)?kernel'."
        )
    penalty = jnp.zeros((), jnp.float32)
    for leaf in chosen:
        if l1:
            penalty = penalty + l1 * jnp.abs(leaf).sum()
        if l2:
            penalty = penalty + l2 * jnp.square(leaf).sum()
    return penalty
