"""What is marked in a picture, moved as the picture is: boxes, masks, semantic map, keypoints.

The marks of one picture are a dict of those fields of a batch that it has, without the batch's
axis: `boxes` [N, 4] (xyxy, pixels, half-open), `box_valid`, `box_ignore` [N] bool, `box_area` [N],
`masks` [N, H, W] bool, `semantic` [H, W] int32 (255 is ignored), `keypoints` [N, K, 3] (x, y, v).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cvjax.image.matrix import Matrix, transform_boxes, transform_points
from cvjax.image.options import Number, check_number
from cvjax.image.warp import warp

MARKS = (
    "boxes", "box_valid", "box_ignore", "box_area", "masks", "semantic", "keypoints",
)  # fmt: skip
IGNORED_CLASS = 255

Window = tuple[Any, Any, Any, Any]  # x1, y1, x2, y2
Pairs = Sequence[Sequence[int]]


def move_marks(
    marks: dict[str, Array],
    matrix: Matrix,
    shape: tuple[int, int],
    *,
    keep: Number | str = "center",
    keypoint_pairs: Pairs = (),
    window: Window | None = None,
    fill: str = "constant",
) -> dict[str, Array]:
    """`marks` of a picture that `matrix` moved, cut to the picture of `shape` (h, w).

    Boxes become the smallest upright ones around the moved ones, cut to the `window` that shows
    the picture (all of `shape` by default). An object stays as long as the centre of its moved box
    lies in the window ("center", SSD's rule: Liu et al. 2016, section 2.2), or as long as that
    share of its moved box does, where `keep` is a number; what stays is at least a pixel wide and
    high. Of those that go, `box_valid` is False, box, area and mask are 0 and keypoints have v = 0.
    What is to be ignored (`box_ignore`) stays as long as any of it is seen. `box_area` changes as
    the picture's does. Keypoints outside have v = 0; a matrix that mirrors exchanges the
    `keypoint_pairs`, such as left and right ones. Masks and the semantic map show the nearest
    pixel, filled as the picture is; where that is a constant, with False and 255.

    Raises:
        ValueError: if `keep` or the pairs are wrong.
    """
    check_keep(keep)
    check_pairs(keypoint_pairs)
    moved = dict(marks)
    x1, y1, x2, y2 = (0, 0, shape[1], shape[0]) if window is None else window
    staying = None
    if "boxes" in marks:
        boxes = transform_boxes(marks["boxes"].astype(jnp.float32), matrix)
        low, high = (jnp.asarray(c, jnp.float32) for c in ([x1, y1, x1, y1], [x2, y2, x2, y2]))
        cut = jnp.clip(boxes, low[None], high[None])
        seen = _area(cut) > 0
        staying = _stays(boxes, cut, keep)
        if "box_ignore" in marks:
            staying = jnp.where(marks["box_ignore"], seen, staying)
            moved["box_ignore"] = marks["box_ignore"] & staying
        if "box_valid" in marks:
            staying &= marks["box_valid"] | marks.get("box_ignore", False)
            moved["box_valid"] = marks["box_valid"] & staying
        moved["boxes"] = jnp.where(staying[:, None], cut, 0.0)
        if "box_area" in marks:
            grown = jnp.abs(_determinant(matrix))
            moved["box_area"] = jnp.where(staying, marks["box_area"] * grown, 0.0)
    rows, columns = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])[None, :]
    shown = (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
    if "masks" in marks:
        layers = jnp.moveaxis(marks["masks"], 0, -1).astype(jnp.float32)
        layers = warp(layers, matrix, shape=shape, fill=fill, order=0)
        masks = (jnp.moveaxis(layers, -1, 0) > 0.5) & shown[None]
        moved["masks"] = masks if staying is None else masks & staying[:, None, None]
    if "semantic" in marks:
        layer = marks["semantic"].astype(jnp.float32)[..., None]
        layer = warp(layer, matrix, shape=shape, fill=fill, value=float(IGNORED_CLASS), order=0)
        layer = jnp.rint(layer[..., 0]).astype(marks["semantic"].dtype)
        moved["semantic"] = jnp.where(shown, layer, IGNORED_CLASS)
    if "keypoints" in marks:
        points = marks["keypoints"].astype(jnp.float32)
        place = jax.vmap(transform_points, in_axes=(0, None))(points[..., :2], matrix)  # [N, K, 2]
        x, y = place[..., 0], place[..., 1]
        here = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
        here = here if staying is None else here & staying[:, None]
        points = jnp.where(
            (here & (points[..., 2] > 0))[..., None],
            jnp.concatenate([place, points[..., 2:]], axis=-1),
            0.0,
        )
        if keypoint_pairs:
            order = list(range(points.shape[1]))
            for a, b in keypoint_pairs:
                order[a], order[b] = b, a
            mirrored = _determinant(matrix) < 0
            points = jnp.where(mirrored, points[:, jnp.asarray(order)], points)
        moved["keypoints"] = points
    return moved


def check_keep(keep: Any) -> None:
    """Raises a ValueError unless `keep` is "center" or a share above 0."""
    if keep != "center":
        if isinstance(keep, str):
            raise ValueError(f"keep={keep!r} must be 'center' or a number in (0, 1].")
        check_number("keep", keep, low=1e-6, high=1.0)


def check_pairs(pairs: Any) -> None:
    """Raises a ValueError unless `pairs` are pairs of different whole numbers from 0 on."""
    flat = [i for pair in pairs for i in pair] if all(len(p) == 2 for p in pairs) else [None]
    if len(set(flat)) < len(flat) or not all(isinstance(i, int) and i >= 0 for i in flat):
        raise ValueError(f"keypoint_pairs={pairs!r} must be pairs of different keypoints' numbers.")


def _stays(
    boxes: Float[Array, "n 4"], cut: Float[Array, "n 4"], keep: Number | str
) -> Bool[Array, " n"]:
    wide = jnp.all(cut[:, 2:] - cut[:, :2] >= 1, axis=-1)
    if keep == "center":
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        return wide & jnp.all((center > cut[:, :2]) & (center < cut[:, 2:]), axis=-1)
    return wide & (_area(cut) >= keep * _area(boxes))


def _area(boxes: Float[Array, "n 4"]) -> Float[Array, " n"]:
    return jnp.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)


def _determinant(matrix: Matrix) -> Float[Array, ""]:
    return matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
