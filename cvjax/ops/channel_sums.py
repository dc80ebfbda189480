"""Sums over everything but the channels, read from memory once for several of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# Rows of one chunk. The compiler unrolls so few and vectorises over the channels.
_ROWS = 8


def channel_sums(*maps: Float[Array, "b *space c"]) -> tuple[Float[Array, " c"], ...]:
    """The sum of every channel of each of `maps`, which have one shape, in float32.

    XLA on a CPU hands a sum to a library, for which it writes to memory what is summed, a square or
    a product, and reads several sums' maps anew for each. One reduction of several operands over a
    few places is a loop of its own that computes them as it goes; what is left is an eighth.
    Accelerators sum as XLA does.
    """
    maps = tuple(m.astype(jnp.float32) for m in maps)
    if jax.default_backend() != "cpu" or maps[0].ndim < 3:
        return _plain(maps)
    return _in_chunks(maps)


def wide(channel: Float[Array, " c"], x: Float[Array, "*b c"]) -> Float[Array, "*ones c"]:
    """[1, ..., 1, C]: what is of every channel, with as many axes as `x`."""
    return channel.reshape((1,) * (x.ndim - 1) + (-1,))


def _plain(maps: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(m.sum(range(m.ndim - 1)) for m in maps)


# A rule of its own, because a reduction of several operands has a derivative for any function.
@jax.custom_vjp
def _in_chunks(maps: tuple[Array, ...]) -> tuple[Array, ...]:
    *_, channels = maps[0].shape
    # Within an image: whole images may lie on several devices.
    maps = [m.reshape(len(m), -1, channels) for m in maps]
    chunks, rest = divmod(maps[0].shape[1], _ROWS)
    sums = [jnp.zeros(channels)] * len(maps)
    if chunks:
        parts = [m[:, : chunks * _ROWS].reshape(-1, chunks, _ROWS, channels) for m in maps]
        parts = lax.reduce(
            parts,
            [np.float32(0)] * len(parts),
            lambda a, b: [u + v for u, v in zip(a, b)],
            dimensions=(2,),
        )
        sums = [p.sum((0, 1)) for p in parts]
    if rest:
        sums = [s + m[:, chunks * _ROWS :].sum((0, 1)) for s, m in zip(sums, maps)]
    return tuple(sums)


def _forward(maps: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
    return _in_chunks(maps), maps[0]


def _backward(shaped: Array, sums: tuple[Array, ...]) -> tuple[tuple[Array, ...]]:
    """A sum is linear: `shaped` gives the maps' shape alone."""
    return (tuple(jnp.broadcast_to(wide(s, shaped), shaped.shape) for s in sums),)


_in_chunks.defvjp(_forward, _backward)
