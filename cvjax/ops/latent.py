"""Latent vectors: what a generator starts from, and ways between two of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

PRIORS = ("normal", "uniform")


def draw_latent(
    key: Key[Array, ""], count: int, dim: int, *, prior: str = "normal"
) -> Float[Array, "b d"]:
    """`count` vectors: N(0, 1) in every value, or "uniform" in [-1, 1).

    Vector i is drawn with `fold_in(key, i)`, so it is the same whatever `count` is and on however
    many devices the batch lies.
    """
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    if prior == "normal":
        return jax.vmap(lambda k: jax.random.normal(k, (dim,)))(keys)
    if prior == "uniform":
        return jax.vmap(lambda k: jax.random.uniform(k, (dim,), minval=-1.0, maxval=1.0))(keys)
    raise ValueError(f"prior={prior!r}: use one of {PRIORS}.")


def lerp(
    start: Float[Array, "*b d"], end: Float[Array, "*b d"], steps: int
) -> Float[Array, "*b s d"]:
    """`steps` points on the straight line from `start` to `end`, both included."""
    share = _shares(start.ndim, steps)
    return start[..., None, :] * (1 - share) + end[..., None, :] * share


def slerp(
    start: Float[Array, "*b d"], end: Float[Array, "*b d"], steps: int
) -> Float[Array, "*b s d"]:
    """`steps` points on the great circle from `start` to `end`, both included.

    sin((1 - t) w) / sin(w) start + sin(t w) / sin(w) end, with w the angle between them (White
    2016, https://arxiv.org/abs/1609.04468): lengths stay those that a Gaussian has in many
    dimensions, where the straight line passes near 0. Parallel vectors take the straight line.
    """
    lengths = jnp.linalg.norm(start, axis=-1) * jnp.linalg.norm(end, axis=-1)
    cosine = jnp.clip((start * end).sum(axis=-1) / jnp.where(lengths == 0, 1.0, lengths), -1, 1)
    angle = jnp.arccos(cosine)[..., None, None]
    share = _shares(start.ndim, steps)
    flat = jnp.sin(angle) < 1e-4
    divisor = jnp.where(flat, 1.0, jnp.sin(angle))
    back, forth = jnp.sin((1 - share) * angle), jnp.sin(share * angle)
    arc = (back * start[..., None, :] + forth * end[..., None, :]) / divisor
    return jnp.where(flat, lerp(start, end, steps), arc)


def _shares(ndim: int, steps: int) -> Float[Array, "..."]:
    """0 to 1 along the last axis but one of an array with an axis more than `ndim`."""
    return jnp.linspace(0.0, 1.0, steps).reshape((1,) * (ndim - 1) + (steps, 1))
