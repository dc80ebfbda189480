"""The Gaussian error linear unit (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415)."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_jvp
def gelu(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """x times the normal distribution's cumulative function, exact (by erf), as PyTorch's default.

    Computed in float32. `jax.nn.gelu` goes by erfc, for which a CPU computes both of its
    approximations everywhere: with the gradient of 8x197x1536 values 21.7 ms on 2 cores, here 3.4.
    What it gains is digits below -3, where the result is next to nothing.
    """
    wide = x.astype(jnp.float32)
    return (wide * _cumulative(wide)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """One map to keep for the gradient, in the type of `x`."""
    (x,), (dx,) = primals, tangents
    wide = x.astype(jnp.float32)
    density = jnp.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    slope = (_cumulative(wide) + wide * density).astype(x.dtype)
    return gelu(x), slope * dx


def _cumulative(x: Array) -> Array:
    return (1 + lax.erf(x * math.sqrt(0.5))) / 2
