"""Between values of a picture, [0, 1], and those of a tanh, [-1, 1]."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def to_signed(image: Array) -> Float[Array, "..."]:
    """[0, 1] -> [-1, 1].

    Raises:
        ValueError: for bytes, which are not in [0, 1].
    """
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image: got {image.dtype}, expected float values. Turn uint8 images into [0, 1] first "
            "(cvjax.image.augment)."
        )
    return 2.0 * image - 1.0


def to_unsigned(image: Float[Array, "..."]) -> Float[Array, "..."]:
    """[-1, 1] -> [0, 1]."""
    return (image + 1.0) / 2.0
