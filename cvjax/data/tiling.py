"""Large annotated pictures in square windows, each an example of its own.

Windows of a row are spread evenly from edge to edge: as few as cover the picture with at least the
overlap asked for, all of them full of picture (a picture smaller than a window is one window, cut
to it). An object is in every window that shows a part of it, its box cut at the window's border.
Where less than `min_visible` of the box is left, the sliver is `ignore`: neither learnt nor judged,
as nobody can tell what it belongs to. What lies in an overlap is learnt and judged in each window.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from cvjax.data.annotations import Picture, Report, Thing, draw_mask, largest

Window = tuple[int, int, int, int]  # x, y, width, height, pixels


class Tiled(Protocol):
    """The options that sources of tiled pictures share; see `cvjax.data.sources.voc`."""

    split: str
    tile: int | None
    tile_overlap: int | Mapping[str, int]
    min_visible: float
    max_objects: int | None
    keep_empty: bool


def window_starts(length: int, tile: int, overlap: int = 0) -> tuple[int, ...]:
    """Where the windows of `tile` pixels begin along an axis of `length`, ascending.

    Neighbours share at least `overlap` pixels. (0,) where the axis is no longer than a window.

    Raises:
        ValueError: if overlap is not in [0, tile).
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tile_overlap={overlap} must be at least 0 and below tile={tile}.")
    if length <= tile:
        return (0,)
    count = math.ceil((length - overlap) / (tile - overlap))
    return tuple(math.floor(i * (length - tile) / (count - 1)) for i in range(count))


def tiles_of(picture: Picture, tile: int, *, overlap: int, min_visible: float) -> Iterator[Picture]:
    """`picture` in windows, row by row, as pictures with a `window`."""
    rows = window_starts(picture.height, tile, overlap)
    columns = window_starts(picture.width, tile, overlap)
    for y, x in itertools.product(rows, columns):
        window = (x, y, min(tile, picture.width), min(tile, picture.height))
        shape = (picture.height, picture.width)
        things = (in_window(thing, window, shape, min_visible) for thing in picture.things)
        kept = tuple(thing for thing in things if thing is not None)
        yield dataclasses.replace(picture, things=kept, window=window)


def in_window(
    thing: Thing, window: Window, shape: tuple[int, int], min_visible: float
) -> Thing | None:
    """`thing` of a picture of `shape` (h, w) in the window's own pixels; None where it shows none.

    Its area shrinks by the share of its box that is left; points outside are not there (v = 0).
    """
    x, y, width, height = window
    x1, y1, x2, y2 = thing.box
    box = (max(x1 - x, 0.0), max(y1 - y, 0.0), min(x2 - x, width), min(y2 - y, height))
    if box[2] <= box[0] or box[3] <= box[1]:
        return None
    share = (box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1))
    points = tuple(
        (px - x, py - y, v if x <= px < x + width and y <= py < y + height else 0)
        for px, py, v in thing.keypoints
    )
    return dataclasses.replace(
        thing,
        box=box,
        ignore=thing.ignore or share < min_visible,
        area=None if thing.area is None else thing.area * share,
        mask=None if thing.mask is None else _moved_mask(thing.mask, window, shape),
        keypoints=points,
    )


def _moved_mask(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any],
    window: Window,
    shape: tuple[int, int],
) -> dict[str, Any]:
    # Drawn and cut, for polygons too: a corner outside of the window would be moved to its edge.
    from pycocotools import mask as coco_mask  # here: a compiled library that few sources need

    x, y, width, height = window
    drawn = draw_mask(segmentation, shape, shape)[y : y + height, x : x + width]
    return coco_mask.encode(np.asfortranarray(drawn.astype(np.uint8)))


def listed_pictures(
    found: Sequence[tuple[str, Picture]], source: Tiled, report: Report
) -> tuple[Picture, ...]:
    """The examples that (name, picture) make: in windows if `source` says so, at most `max_objects`
    in each, the empty ones too if `keep_empty`; `report` counts the rest.

    Raises:
        ValueError: if the overlap is not in [0, tile).
    """
    overlap = source.tile_overlap
    if isinstance(overlap, Mapping):
        overlap = overlap.get(source.split, 0)
    pictures = []
    for name, picture in found:
        parts = [picture]
        if source.tile is not None:
            parts = tiles_of(picture, source.tile, overlap=overlap, min_visible=source.min_visible)
        for part in parts:
            where = name if part.window is None else f"{name} at {part.window[:2]}"
            things = [(f"{where} object {i}", t) for i, t in enumerate(part.things, start=1)]
            kept = largest(things, source.max_objects, report)
            if not kept:
                report.add("no_objects", where)
                if not source.keep_empty:
                    continue
            pictures.append(dataclasses.replace(part, things=kept))
    return tuple(pictures)
