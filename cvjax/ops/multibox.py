"""MultiBox's priors: boxes on coarse grids, of several shapes a cell.

Szegedy et al. 2014, https://arxiv.org/abs/1412.1441.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Width over height.
_ASPECTS = (1 / 3, 1 / 2, 1.0, 2.0, 3.0)
# (width, height) in cells: two sizes of five aspects, and a square of half a cell.
SHAPES = (
    *((size * aspect**0.5, size / aspect**0.5) for size in (1.0, 2**0.5) for aspect in _ASPECTS),
    (0.5, 0.5),
)


def multibox_priors(
    image: tuple[int, int],
    *,
    grids: Sequence[int] = (8, 6, 4, 3, 2),
    shapes: Sequence[tuple[float, float]] = SHAPES,
    whole: bool = True,
) -> Float[Array, "a 4"]:
    """(x1, y1, x2, y2) in pixels: all `shapes` of every cell of each square grid, row by row.

    11 shapes on these grids and, with `whole`, one box for the `image` (h, w) are 1420 priors.
    They may leave the image. The 11 shapes are a choice of this module, not taken from the paper.

    Raises:
        ValueError: if a grid or a side of a shape is not positive.
    """
    sides = np.asarray(shapes, np.float64).reshape(-1, 2)
    if min(grids, default=1) < 1 or (sides <= 0).any():
        raise ValueError(
            f"multibox_priors: grids {tuple(grids)} and shapes {tuple(shapes)} must be positive."
        )
    size = np.asarray([image[1], image[0]], np.float64)
    priors = []
    for grid in grids:
        y, x = np.meshgrid(np.arange(grid) + 0.5, np.arange(grid) + 0.5, indexing="ij")
        center = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        half = sides[None] / 2
        corners = np.stack([center - half, center + half], axis=-2)  # [G G, S, 2, 2]
        priors.append((corners * (size / grid)).reshape(-1, 4))
    if whole:
        priors.append(np.asarray([[0, 0, *size]]))
    return jnp.asarray(np.concatenate(priors), jnp.float32)
