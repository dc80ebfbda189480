"""Normalisation of the networks that turn pictures into pictures."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.norm import BatchNorm

TranslationNorm = Literal["batch", "instance"]


def _scales(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return 1.0 + nn.initializers.normal(0.02)(key, shape, dtype)


def translation_norm(
    x: Float[Array, "b h w c"], kind: TranslationNorm, *, train: bool, name: str, dtype: Any
) -> Float[Array, "b h w c"]:
    """`x` normalised: "batch" with scale and shift, or "instance" without, as their papers have it.

    Instance normalisation (Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022) takes each
    channel of each picture by itself, and has no parameters, as in PyTorch.
    """
    if kind == "batch":
        norm = BatchNorm(scale_init=_scales, dtype=dtype, name=name)
        return norm(x, use_running_average=not train)
    y = x.astype(jnp.float32)
    mean = y.mean(axis=(1, 2), keepdims=True)
    variance = jnp.square(y - mean).mean(axis=(1, 2), keepdims=True)
    return ((y - mean) * jax.lax.rsqrt(variance + 1e-5)).astype(dtype)
