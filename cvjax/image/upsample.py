"""Small images made larger on the device, for networks that were trained on larger ones."""

import jax
from jaxtyping import Array, Float

METHODS = ("nearest", "bilinear", "bicubic")


def upsample(
    image: Float[Array, "*b h w c"], *, size: int, method: str = "bilinear"
) -> Float[Array, "*b {size} {size} c"]:
    """`image` enlarged to `size` pixels square, pixels' centres aligned as everywhere here.

    As a first layer, it feeds CIFAR's 32x32 images to a network that was trained at 224, while
    they are read, augmented and moved small.

    Raises:
        ValueError: if the method is unknown, or the size is less than the image's.
    """
    height, width = image.shape[-3:-1]
    if method not in METHODS:
        raise ValueError(f"upsample: method={method!r}; one of {METHODS}.")
    if size < max(height, width):
        raise ValueError(
            f"upsample: size={size} is less than the images' {height}x{width}; it enlarges."
        )
    shape = (*image.shape[:-3], size, size, image.shape[-1])
    return jax.image.resize(image, shape, method if method != "bicubic" else "cubic")
