"""Anchors: the boxes that a detector starts from, at every place of its feature maps.

They depend on shapes alone, so they are made by NumPy and become constants of the program. Places
go row by row, and all anchors of a place come together, as the channels of a head do. Boxes are
(x1, y1, x2, y2) in pixels.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Shape = tuple[int, int]
Numbers = Sequence[int | float]


def grid_anchors(
    image: Shape,
    features: Sequence[Shape],
    *,
    sizes: Sequence[Numbers],
    aspects: Sequence[Numbers],
) -> Float[Array, "a 4"]:
    """Anchors of RetinaNet and Faster R-CNN, the levels one after the other.

    `image` and `features` are shapes (h, w); level i has len(sizes[i]) len(aspects[i]) anchors
    a place, the sizes running fastest. A size is the square root of the area, an aspect is height
    over width. Boxes are centred on a place's upper left corner and rounded to whole pixels, and
    the stride is the image's side over the map's, rounded down, as in torchvision.

    Raises:
        ValueError: if sizes, aspects and features differ in length, or a map is larger than the
            image.
    """
    _same_length("grid_anchors", features=features, sizes=sizes, aspects=aspects)
    levels = []
    for shape, level_sizes, level_aspects in zip(features, sizes, aspects, strict=True):
        strides = [i // f for i, f in zip(image, shape, strict=True)]
        if min(strides) < 1:
            raise ValueError(f"grid_anchors: the map {shape} is larger than the image {image}.")
        tall = np.sqrt(np.asarray(level_aspects, np.float32))[:, None]
        size = np.asarray(level_sizes, np.float32)[None]
        heights, widths = (tall * size).ravel(), ((1 / tall) * size).ravel()
        cell = np.stack([-widths, -heights, widths, heights], axis=-1) / 2
        cell = np.round(cell)  # half to even
        y, x = np.meshgrid(
            np.arange(shape[0]) * strides[0], np.arange(shape[1]) * strides[1], indexing="ij"
        )
        corner = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
        levels.append((corner + cell[None]).reshape(-1, 4))
    return jnp.asarray(np.concatenate(levels), jnp.float32)


def default_boxes(
    image: Shape,
    features: Sequence[Shape],
    *,
    scales: Numbers,
    aspects: Sequence[Numbers],
    steps: Numbers | None = None,
    clip: bool = True,
) -> Float[Array, "a 4"]:
    """SSD's default boxes, the levels one after the other; 8732 for SSD300.

    Level i has squares of scale s_i and sqrt(s_i s_{i+1}), then for each of aspects[i] a wide and
    a tall box of scale s_i, all as shares of the image's sides, so `scales` holds one more than
    there are levels. `steps` are the pixels between places (default: the image's side over the
    map's). `clip` cuts widths and heights, not corners, to the image's, as torchvision does.
    Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 2.2.

    Raises:
        ValueError: if the lengths do not fit together.
    """
    steps = [None] * len(features) if steps is None else steps
    _same_length(
        "default_boxes", features=features, aspects=aspects, steps=steps, scales=scales[1:]
    )
    height, width = image
    levels = []
    for i, (rows, columns) in enumerate(features):
        scale, between = scales[i], float(np.sqrt(scales[i] * scales[i + 1]))
        sides = [(scale, scale), (between, between)]
        for aspect in aspects[i]:
            long, short = scale * np.sqrt(aspect), scale / np.sqrt(aspect)
            sides += [(long, short), (short, long)]
        sides = np.asarray(sides)
        sides = np.clip(sides, 0, 1) if clip else sides
        step_y, step_x = (height / rows, width / columns) if steps[i] is None else [steps[i]] * 2
        y, x = np.meshgrid(
            (np.arange(rows) + 0.5) * step_y, (np.arange(columns) + 0.5) * step_x, indexing="ij"
        )
        center = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        half = (sides * np.asarray([[width, height]]) / 2)[None]
        levels.append(np.concatenate([center - half, center + half], axis=-1).reshape(-1, 4))
    return jnp.asarray(np.concatenate(levels), jnp.float32)


def _same_length(name: str, **sequences: Sequence) -> None:
    lengths = {key: len(value) for key, value in sequences.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise ValueError(
            f"{name}: one entry a level is needed (scales: one more), but the levels are: {found}."
        )
