"""A vision transformer's learned positions for images of another size."""

import math
from collections.abc import Mapping

import numpy as np

NAMES = ("pos_embed", "encoder.pos_embedding")  # timm's, torchvision's


def resize_position_table(
    state_dict: Mapping[str, np.ndarray],
    *,
    image_size: int,
    patch_size: int = 16,
    antialias: bool = True,
) -> dict[str, np.ndarray]:
    """`state_dict` with its position table for square images of `image_size`, for `from_torch`.

        state = resize_position_table(state, image_size=384)
        variables = from_torch("vit_base_patch16_224", state, "timm", image_size=384)

    The patches' positions are a square map that is resized bicubically; those of the class and
    distillation tokens stay. `antialias=True` is what timm does: Keys' cubic with a = -1/2, widened
    when the map shrinks, as Pillow's. False is plain PyTorch: a = -3/4, never widened.

    Raises:
        ValueError: if there is no table, or `patch_size` does not divide `image_size`.
    """
    if image_size % patch_size:
        raise ValueError(
            f"image_size={image_size} is not a multiple of the patch's size, {patch_size}"
        )
    found = [name for name in NAMES if name in state_dict]
    if not found:
        raise ValueError(f"there is no position table: none of {', '.join(NAMES)}")
    table = np.asarray(state_dict[found[0]])
    resized = resize_grid(table, image_size // patch_size, antialias=antialias)
    return {**state_dict, found[0]: resized}


def resize_grid(table: np.ndarray, side: int, *, antialias: bool = True) -> np.ndarray:
    """A table [1, n + old * old, D] as [1, n + side * side, D], where n is 0, 1 or 2 tokens."""
    old = math.isqrt(table.shape[1])
    if old == side:
        return table
    extra = table.shape[1] - old * old
    weights = cubic_weights(old, side, antialias=antialias)
    grid = table[0, extra:].reshape(old, old, -1).astype(np.float64)
    grid = np.einsum("yh,xw,hwd->yxd", weights, weights, grid, optimize=True)
    grid = grid.reshape(1, side * side, -1).astype(table.dtype)
    return np.concatenate([table[:, :extra], grid], axis=1)


def cubic_weights(old: int, new: int, *, antialias: bool) -> np.ndarray:
    """[new, old]: what each of `old` samples counts in each of `new` over the same length."""
    ratio = old / new
    centre = (np.arange(new)[:, None] + 0.5) * ratio - 0.5  # in old samples
    if antialias:
        widened = max(ratio, 1.0)
        weights = _keys((np.arange(old)[None, :] - centre) / widened, a=-0.5)
        return weights / weights.sum(axis=1, keepdims=True)
    # The border's sample is repeated outside: two of them are all that a window can reach.
    places = np.arange(-2, old + 2)
    weights = _keys(places[None, :] - centre, a=-0.75)
    inside = weights[:, 2:-2].copy()
    inside[:, 0] += weights[:, :2].sum(axis=1)
    inside[:, -1] += weights[:, -2:].sum(axis=1)
    return inside


def _keys(x: np.ndarray, *, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (1981): 1 at 0, 0 at other integers and from 2 on."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
