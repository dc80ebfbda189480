"""What is left of a picture when something is taken away that a network is to give back.

Pairs for image-to-image translation (Isola et al. 2017, https://arxiv.org/abs/1611.07004) from
pictures alone. `CONDITIONS[name](key, image)` turns [H, W, C] in [0, 1] into [H, W, C'] in [0, 1].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.color import luma
from cvjax.image.erase import rectangle

Image = Float[Array, "h w c"]


def grey(key: Key[Array, ""], image: Image) -> Float[Array, "h w 1"]:
    """Its brightness: colouring gives the colours back."""
    del key
    return luma(image)


def masked(key: Key[Array, ""], image: Image) -> Image:
    """The picture with a square of half its side, anywhere inside, at 0.5: inpainting."""
    height, width, _ = image.shape
    side = min(height, width) // 2
    row_key, column_key = jax.random.split(key)
    top = jax.random.randint(row_key, (), 0, height - side + 1)
    left = jax.random.randint(column_key, (), 0, width - side + 1)
    hole = rectangle(top, left, top + side, left + side, shape=(height, width))
    return jnp.where(hole[..., None], 0.5, image)


def low_resolution(key: Key[Array, ""], image: Image) -> Image:
    """Means of 4x4 pixels, each spread over the 16: super-resolution gives the details back.

    Raises:
        ValueError: unless both sides are multiples of 4.
    """
    del key
    height, width, channels = image.shape
    if height % 4 or width % 4:
        raise ValueError(f"low_resolution: {height}x{width} pixels are no multiples of 4.")
    small = image.reshape(height // 4, 4, width // 4, 4, channels).mean(axis=(1, 3))
    return small.repeat(4, axis=0).repeat(4, axis=1)


def edges(key: Key[Array, ""], image: Image) -> Float[Array, "h w 1"]:
    """Length of the brightness' gradient by Sobel's filters, 1 for a step from black to white."""
    del key
    x = jnp.pad(luma(image)[..., 0], 1, mode="edge")
    smooth_rows = x[:-2] + 2 * x[1:-1] + x[2:]
    smooth_columns = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    across = smooth_rows[:, 2:] - smooth_rows[:, :-2]
    down = smooth_columns[2:] - smooth_columns[:-2]
    # A root has no slope at 0: what is even must not make NaNs, should a gradient ever pass.
    length = jnp.sqrt(jnp.square(across) + jnp.square(down) + 1e-12) / 4
    return jnp.clip(length, 0, 1)[..., None]


CONDITIONS: dict[str, Callable[[Key[Array, ""], Image], Float[Array, "h w _"]]] = {
    "grey": grey,
    "masked": masked,
    "low_resolution": low_resolution,
    "edges": edges,
}
