"""Random noise on the pixels of images [H,W,C] in [0, 1]; results are clipped to [0, 1]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.options import Interval, Number, check_interval, check_number

Image = Float[Array, "h w c"]


def noise(key: Key[Array, ""], image: Image, *, std: Interval = 0.05) -> Image:
    """`image` plus Gaussian noise, drawn anew for every pixel and channel.

    A pair for `std` draws the strength itself, once an image, from U(pair).
    """
    low, high = check_interval("std", std, low=0.0)
    strength_key, pixel_key = jax.random.split(key)
    strength = jax.random.uniform(strength_key, minval=low, maxval=high)
    return jnp.clip(image + strength * jax.random.normal(pixel_key, image.shape), 0.0, 1.0)


def salt_and_pepper(key: Key[Array, ""], image: Image, *, fraction: Number = 0.02) -> Image:
    """`image` with about `fraction` of its pixels (all channels) turned white or black.

    Each pixel on its own, white and black equally likely.
    """
    fraction = check_number("fraction", fraction, low=0.0, high=1.0)
    height, width, _ = image.shape
    draw = jax.random.uniform(key, (height, width, 1))
    salted = jnp.where(draw < fraction / 2, 1.0, image)
    return jnp.where(draw >= 1.0 - fraction / 2, 0.0, salted)
