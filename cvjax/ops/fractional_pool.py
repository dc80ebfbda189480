"""Fractional max-pooling (Graham 2014, https://arxiv.org/abs/1412.6071): maps shrunk by a factor
between 1 and 2, over regions of one or two rows and columns that are drawn anew.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Regions = Literal["random", "pseudorandom"]

# u of the paper is drawn from this many values between two pixels; whole numbers do not round.
_PHASES = 64


def fractional_max_pool(
    key: Key[Array, ""],
    x: Float[Array, "b h w c"],
    *,
    ratio: float = math.sqrt(2),
    regions: Regions = "pseudorandom",
    overlapping: bool = True,
) -> Float[Array, "b h2 w2 c"]:
    """The largest value of every region; h2 = floor(h / ratio), regions drawn by `key`.

    (At a ratio near 1, overlapping regions are at most h - 1.)

    One draw for the batch, rows and columns on their own. `regions`: "random" = ones and twos in
    any order, "pseudorandom" = as even as they get, from a random start. `overlapping` regions
    share their border rows and columns, so that they are two or three wide.

    Raises:
        ValueError: if `ratio` is not between 1 and 2, or the map is too small for it.
    """
    keys = jax.random.split(key)
    for axis, axis_key in enumerate(keys, start=1):
        starts = region_starts(
            axis_key, x.shape[axis], ratio=ratio, regions=regions, overlapping=overlapping
        )
        # A region that ends earlier repeats its last pixel, which changes no maximum.
        last = starts[1:] - (0 if overlapping else 1)
        first = starts[:-1]
        x = functools.reduce(
            jnp.maximum,
            [
                x.take(jnp.minimum(first + i, last), axis=axis)
                for i in range(3 if overlapping else 2)
            ],
        )
    return x


def region_starts(
    key: Key[Array, ""], size: int, *, ratio: float, regions: Regions, overlapping: bool
) -> Int[Array, "n"]:
    """Where the regions of a side of `size` pixels begin, and at the end where the last one ends.

    n - 1 regions: from start to next start, inclusive if `overlapping`, else exclusive. Steps are
    1 or 2 from 0 to size - 1 (overlapping) or size.

    Raises:
        ValueError: as `fractional_max_pool`.
    """
    if not 1 <= ratio <= 2:
        raise ValueError(f"the ratio of fractional pooling is {ratio}, expected 1 to 2")
    count = math.floor(size / ratio)
    span = size - 1 if overlapping else size
    count = min(count, span)
    if count < 1 or span > 2 * count:
        raise ValueError(f"a side of {size} pixels is too small for a ratio of {ratio:g}")
    if regions == "pseudorandom":
        phase = jax.random.randint(key, (), 0, _PHASES)
        places = span * (jnp.arange(count + 1) * _PHASES + phase)
        ceilings = -(-places // (count * _PHASES))
        return ceilings - ceilings[0]
    if regions != "random":
        raise ValueError(f"regions={regions!r} is unknown; use 'random' or 'pseudorandom'")
    steps = jnp.where(jnp.arange(count) < span - count, 2, 1)
    steps = jax.random.permutation(key, steps)
    return jnp.concatenate([jnp.zeros(1, steps.dtype), jnp.cumsum(steps)])
