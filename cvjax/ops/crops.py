"""Windows of an image at fixed places: the crops that several predictions are averaged over."""

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def five_crop(
    image: Shaped[Array, "*b h w c"], size: tuple[int, int]
) -> Shaped[Array, "5 *b {size[0]} {size[1]} c"]:
    """The windows of `size` (height, width) at the corners (top left, top right, bottom left,
    bottom right) and in the middle, in that order.

    Where the margin is odd, the middle is rounded half to even, as torchvision does.

    Raises:
        ValueError: if a window would be larger than the image.
    """
    height, width = image.shape[-3:-1]
    rows, columns = height - size[0], width - size[1]
    if min(rows, columns) < 0 or min(size) < 1:
        raise ValueError(
            f"five_crop: windows of {size[0]}x{size[1]} pixels do not fit into images of "
            f"{height}x{width}."
        )
    places = [(0, 0), (0, columns), (rows, 0), (rows, columns)]
    places.append((round(rows / 2), round(columns / 2)))
    windows = [image[..., y : y + size[0], x : x + size[1], :] for y, x in places]
    return jnp.stack(windows)


def ten_crop(
    image: Shaped[Array, "*b h w c"], size: tuple[int, int]
) -> Shaped[Array, "10 *b {size[0]} {size[1]} c"]:
    """`five_crop` of the image, then of its mirror image (Krizhevsky et al. 2012, section 4.1)."""
    mirrored = image[..., ::-1, :]
    return jnp.concatenate([five_crop(image, size), five_crop(mirrored, size)])
