"""Normalisation by name, for models that take theirs as a field."""

import math
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.batch_renorm import BatchRenorm
from cvjax.nn.norm import BatchNorm

Norm = Literal["batch", "batch_renorm", "group", "instance", "layer", "none"]

# Wu & He 2018, https://arxiv.org/abs/1803.08494, table 3.
GROUPS = 32


def normalize(
    x: Float[Array, "*b c"],
    kind: Norm,
    *,
    train: bool,
    name: str,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    warmup: int = 5000,
    dtype: Any = jnp.float32,
) -> Float[Array, "*b c"]:
    """`x` normalised and then scaled and shifted per channel, by a submodule `name` of the caller.

    "batch" and "batch_renorm": over the batch and the map, channel by channel; the latter is
    opened from step `warmup` on. "layer", "group", "instance": over the map of one example and
    all channels, those of a group (`group_count`), one channel; these train and test alike.
    "none" is `x` itself and has no parameters.

    Raises:
        ValueError: for "instance" on less than a map: a single value has no variance.
    """
    if kind == "none":
        return x
    if kind == "batch":
        norm = BatchNorm(scale_init=scale_init, dtype=dtype, name=name)
        return norm(x, use_running_average=not train)
    if kind == "batch_renorm":
        norm = BatchRenorm(scale_init=scale_init, warmup=warmup, dtype=dtype, name=name)
        return norm(x, use_running_average=not train)
    channels = x.shape[-1]
    if kind == "instance" and math.prod(x.shape[1:-1]) < 2:
        raise ValueError(
            f"{name}: instance normalisation of {x.shape} sees one value per channel. "
            "Use norm='layer' or a larger map."
        )
    groups = {"layer": 1, "group": group_count(channels), "instance": channels}[kind]
    return nn.GroupNorm(
        groups,
        epsilon=1e-5,
        scale_init=scale_init,
        use_fast_variance=False,  # E[x^2] - E[x]^2 loses the digits that matter
        dtype=dtype,
        name=name,
    )(x)


def group_count(channels: int) -> int:
    """32 groups, or in narrower layers as many as leave two channels each; always a divisor."""
    return math.gcd(channels, min(GROUPS, max(channels // 2, 1)))
