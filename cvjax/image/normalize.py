"""From the bytes of a picture to the numbers a network reads, and back."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

# Channel statistics of ImageNet's training set in [0, 1], as every published ImageNet model uses.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_float(
    image: UInt8[Array, "*b h w c"] | Float[Array, "*b h w c"],
) -> Float[Array, "*b h w c"]:
    """`image` as float32 in [0, 1]: uint8 divided by 255, floats taken to be in [0, 1] already."""
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255.0
    return image.astype(jnp.float32)


def normalize(
    image: Float[Array, "*b h w c"],
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> Float[Array, "*b h w c"]:
    """`(image - mean) / std`, each one number for all channels or one number a channel.

    Raises:
        ValueError: where the number of values is neither 1 nor the number of channels, or a std
            is not positive.
    """
    rank, channels = image.ndim, image.shape[-1]
    centre = per_channel("mean", mean, channels, rank=rank)
    return (image - centre) / per_channel("std", std, channels, rank=rank, positive=True)


def denormalize(
    image: Float[Array, "*b h w c"],
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> Float[Array, "*b h w c"]:
    """The inverse of `normalize`, for showing what a network saw."""
    rank, channels = image.ndim, image.shape[-1]
    scale = per_channel("std", std, channels, rank=rank, positive=True)
    return image * scale + per_channel("mean", mean, channels, rank=rank)


def per_channel(
    name: str,
    values: float | Sequence[float],
    channels: int,
    *,
    rank: int = 3,
    positive: bool = False,
) -> np.ndarray:
    """`values` as float32 [1, ..., 1, C] of `rank` axes, one number repeated for every channel.

    Raises:
        ValueError: as `normalize`; the message calls the values `name`.
    """
    array = np.asarray(values, np.float32)
    if array.size == 1:
        array = np.full(channels, array.item(), np.float32)
    elif array.shape != (channels,):
        raise ValueError(
            f"{name}={values!r} has {array.size} values for images of {channels} channels: "
            f"give one number, or {channels}."
        )
    if not np.isfinite(array).all() or (positive and (array <= 0).any()):
        raise ValueError(f"{name}={values!r} must be {'positive' if positive else 'finite'}.")
    return array.reshape((1,) * (rank - 1) + (channels,))
