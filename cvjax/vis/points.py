"""Points of the plane as a picture: what a generator of 2-D points is looked at by."""

from typing import Any

import numpy as np

# Told apart by eye, also next to each other; further labels start again.
PALETTE = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (188, 189, 34), (23, 190, 207), (60, 60, 60),
)  # fmt: skip
UNLABELLED = (190, 190, 190)


def points_picture(points: Any, labels: Any = None, *, side: int = 480) -> np.ndarray:
    """uint8 [side, side, 3]: points [N, 2] of the unit square as small squares, y upwards.

    Colours go by `labels` [N], later points over earlier ones; -1 is grey. Points outside are
    drawn at the edge, so that none can hide; one that is no number is left out.

    Raises:
        ValueError: for other shapes.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points are [N, 2], got {points.shape}.")
    labels = np.zeros(len(points), np.int64) if labels is None else np.asarray(labels)
    if labels.shape != (len(points),):
        raise ValueError(f"{labels.shape} labels for {len(points)} points.")
    canvas = np.full((side, side, 3), 255, np.uint8)
    known = np.isfinite(points).all(axis=1)
    places = np.clip(np.rint(points[known] * (side - 1)), 1, side - 2).astype(np.int64)
    colours = np.array([*PALETTE, UNLABELLED], np.uint8)
    index = np.where(labels[known] < 0, len(PALETTE), labels[known] % len(PALETTE))
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            canvas[side - 1 - places[:, 1] + row, places[:, 0] + column] = colours[index]
    canvas[[0, -1]] = canvas[:, [0, -1]] = 120
    return canvas
