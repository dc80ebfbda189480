"""Four pictures in one, with all that is marked in them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.marks import IGNORED_CLASS, MARKS, Pairs, move_marks
from cvjax.image.matrix import Matrix, compose, scale_matrix, translation_matrix
from cvjax.image.options import Interval, Number, check_interval
from cvjax.image.warp import warp

# Fields with an entry for each object.
OF_OBJECTS = ("boxes", "box_label", "box_valid", "box_ignore", "box_area", "masks", "keypoints")


def mosaic(
    key: Key[Array, ""],
    examples: dict[str, Array],
    *,
    center: Interval = (0.25, 0.75),
    keep: Number | str = "center",
    keypoint_pairs: Pairs = (),
) -> dict[str, Array]:
    """One example of four: `image` [4, H, W, C] and marks [4, ...] become [H, W, C] and marks.

    They meet at a point drawn from U(`center`) of width and height, whole pixels: the first shows
    its lower right part in the upper left quarter, the others follow row by row, each so
    large that it fills its quarter, up to its own size. The N objects of each become 4 N; which
    of them stay is told by `keep`, see `move_marks`. Bochkovskiy et al. 2020, "YOLOv4",
    https://arxiv.org/abs/2004.10934, section 3.3.

    Raises:
        ValueError: for an option out of range, or unless there are four examples.
    """
    low, high = check_interval("center", center, low=0.05, high=0.95)
    images = examples["image"]
    if len(images) != 4:
        raise ValueError(f"mosaic: got {len(images)} pictures, expected 4.")
    height, width = images.shape[1:3]
    center_key, scale_key = jax.random.split(key)
    meet = jax.random.uniform(center_key, (2,), minval=low, maxval=high)
    x = jnp.clip(jnp.rint(meet[0] * width), 1, width - 1)
    y = jnp.clip(jnp.rint(meet[1] * height), 1, height - 1)
    draws = jax.random.uniform(scale_key, (4,))

    picture = jnp.zeros(images.shape[1:], images.dtype)
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    parts, semantic = [], jnp.full((height, width), IGNORED_CLASS, jnp.int32)
    for i in range(4):
        left, upper = i % 2 == 0, i < 2
        matrix = _placed(draws[i], x, y, left=left, upper=upper, shape=(height, width))
        here = ((columns < x) == left) & ((rows < y) == upper)
        picture = jnp.where(here[..., None], warp(images[i], matrix, fill="nearest"), picture)
        window = (0 if left else x, 0 if upper else y, x if left else width, y if upper else height)
        marks = {name: examples[name][i] for name in MARKS if name in examples}
        moved = move_marks(
            marks,
            matrix,
            (height, width),
            keep=keep,
            keypoint_pairs=keypoint_pairs,
            window=window,
            fill="nearest",
        )
        if "semantic" in moved:
            semantic = jnp.where(here, moved.pop("semantic"), semantic)
        if "box_label" in examples:
            moved["box_label"] = examples["box_label"][i]
        parts.append(moved)
    found = {name: x[0] for name, x in examples.items()}
    found |= {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "semantic" in examples:
        found["semantic"] = semantic.astype(examples["semantic"].dtype)
    return {**found, "image": picture}


def with_room(example: dict[str, Array]) -> dict[str, Array]:
    """`example` padded to four times as many objects: as large as a mosaic."""

    def padded(x: Array) -> Array:
        return jnp.pad(x, [(0, 3 * len(x))] + [(0, 0)] * (x.ndim - 1))

    return {name: padded(x) if name in OF_OBJECTS else x for name, x in example.items()}


def _placed(
    draw: Float[Array, ""],
    x: Float[Array, ""],
    y: Float[Array, ""],
    *,
    left: bool,
    upper: bool,
    shape: tuple[int, int],
) -> Matrix:
    """A picture scaled to fill its quarter at least, with the inner corner at (x, y)."""
    height, width = shape
    fills = jnp.maximum((x if left else width - x) / width, (y if upper else height - y) / height)
    scale = fills + draw * (1 - fills)
    shift = translation_matrix(x - scale * width if left else x, y - scale * height if upper else y)
    return compose(scale_matrix(scale, scale), shift)
