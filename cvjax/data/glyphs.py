"""Cut-out shapes that a scene is composed of: the handwritten digits, or Tux Paint's stamps.

A glyph is a small picture cut tight around its ink. Digits are ink alone (they are painted in any
colour); stamps keep their own colours and are cut out by their transparency.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvjax.data.source import select_part
from cvjax.data.sources.digits import Digits
from cvjax.data.sources.stamps import stamps_folder

# Where a glyph's keypoints are: its uppermost, lowest, leftmost and rightmost ink, and the middle
# of all its ink.
KEYPOINT_NAMES = ("top", "bottom", "left", "right", "middle")
# Top folders that hold enough pictures of one kind of thing.
STAMP_CLASSES = ("animals", "food", "household", "plants", "seasonal", "town", "vehicles")
_LONGEST_STAMP = 128  # pixels: larger ones are read at half, a quarter, ... of their size
_INK = 128  # a pixel belongs to a glyph from half its full alpha on


@dataclasses.dataclass(frozen=True)
class Glyph:
    """One cut-out shape.

    `pictures` show it at its size, a half of it, a quarter ..., so that one close to the wanted
    size is resampled; modes are "L" (ink) or "RGBA". `size` (width, height) and `keypoints`
    [K, 2], as `KEYPOINT_NAMES`, are in pixels of the first picture.
    """

    label: int
    size: tuple[int, int]
    pictures: tuple[Image.Image, ...]
    keypoints: np.ndarray

    @property
    def tinted(self) -> bool:
        """Whether the glyph takes on a colour; otherwise it has its own."""
        return self.pictures[0].mode == "L"


@dataclasses.dataclass(frozen=True)
class GlyphSet:
    class_names: tuple[str, ...]
    glyphs: tuple[Glyph, ...]

    def of_class(self) -> list[np.ndarray]:
        """For each class, the indices of its glyphs."""
        labels = np.array([glyph.label for glyph in self.glyphs])
        return [np.flatnonzero(labels == label) for label in range(len(self.class_names))]


def digit_glyphs(
    split: str, *, classes: Sequence[str], test_fraction: float, validation_fraction: float
) -> GlyphSet:
    """The scans of that split of `digits`: glyphs of one split appear in no other.

    Raises:
        ValueError: for a class that is no digit.
    """
    digits = Digits(split, test_fraction=test_fraction, validation_fraction=validation_fraction)
    names = _chosen(classes, digits.info.class_names)
    wanted = {digits.info.class_names.index(name): label for label, name in enumerate(names)}
    glyphs = [
        _digit(image[..., 0], wanted[int(label)])
        for image, label in zip(digits.images, digits.labels)
        if int(label) in wanted
    ]
    return GlyphSet(names, tuple(glyphs))


def stamp_glyphs(
    split: str,
    *,
    classes: Sequence[str],
    test_fraction: float,
    validation_fraction: float,
    folder: str = "",
) -> GlyphSet:
    """Stamps of Tux Paint; a class is one of the top folders.

    Raises:
        FileNotFoundError: where the stamps are not installed.
        ValueError: for a class that is no folder, or has fewer than two stamps.
    """
    root = stamps_folder(folder)
    known = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    names = _chosen(classes or STAMP_CLASSES, known)
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(
            (path for path in (root / name).rglob("*.png") if not _is_variant(path)),
            key=os.fsencode,
        )
        if len(found) < 2:
            raise ValueError(f"scenes: {root / name} holds {len(found)} stamps, fewer than 2.")
        files += found
        labels += [label] * len(found)
    part = select_part(
        "scenes",
        np.array(labels),
        split,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        seed=0,
    )
    glyphs = [_stamp(files[index], labels[index]) for index in part]
    return GlyphSet(names, tuple(glyph for glyph in glyphs if glyph is not None))


def _chosen(classes: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(name) for name in classes) or tuple(known)
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"scenes: classes={list(names)} must be different names out of {list(known)}."
        )
    return names


def _is_variant(path: Path) -> bool:
    """Mirrored and turned versions of another stamp, which might then be in two splits."""
    return path.stem.endswith(("_mirror", "_flip", "_mirror_flip"))


def _digit(scan: np.ndarray, label: int) -> Glyph:
    """uint8 [8, 8] at 4 and 2 times its size, with the border that interpolation needs."""
    bordered = np.pad(scan[_extent(scan)], 1)
    height, width = bordered.shape
    small = Image.fromarray(bordered)
    pictures = tuple(
        small.resize((width * scale, height * scale), Image.Resampling.BICUBIC) for scale in (4, 2)
    )
    return Glyph(label, (4 * width, 4 * height), pictures, 4 * _keypoints(bordered))


def _stamp(path: Path, label: int) -> Glyph | None:
    """None where nothing of the picture is opaque, or all of it is: there is nothing to cut out."""
    with Image.open(path) as picture:
        layers = picture.convert("RGBA")
    while max(layers.size) > 2 * _LONGEST_STAMP:
        layers = layers.reduce(2)
    alpha = np.asarray(layers)[..., 3]
    opaque = alpha >= _INK
    if not opaque.any() or opaque.all():
        return None
    rows, columns = _extent(alpha)
    bordered = np.pad(np.asarray(layers)[rows, columns], ((1, 1), (1, 1), (0, 0)))
    pictures = [Image.fromarray(bordered)]
    while min(pictures[-1].size) > 16:
        pictures.append(pictures[-1].reduce(2))
    return Glyph(label, pictures[0].size, tuple(pictures), _keypoints(bordered[..., 3]))


def _extent(alpha: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold ink."""
    rows = np.flatnonzero((alpha >= _INK).any(axis=1))
    columns = np.flatnonzero((alpha >= _INK).any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _keypoints(alpha: np.ndarray) -> np.ndarray:
    """float64 [5, 2], (x, y) in pixels; of several extreme pixels, the one in their middle."""
    y, x = np.nonzero(alpha >= _INK)
    centers = np.stack([x, y], axis=1) + 0.5
    points = []
    for extreme in (y == y.min(), y == y.max(), x == x.min(), x == x.max()):
        tied = centers[extreme]
        points.append(tied[np.abs(tied - tied.mean(axis=0)).sum(axis=1).argmin()])
    return np.stack([*points, centers.mean(axis=0)])


def level_for(glyph: Glyph, scale: float) -> tuple[Image.Image, float]:
    """The picture to resample when a glyph is drawn at `scale`, and that picture's own scale.

    The smallest that is at least as large as what is drawn: bilinear sampling then skips no pixel.
    """
    last = len(glyph.pictures) - 1
    level = min(last, max(0, math.floor(-math.log2(max(scale, 1e-6)))))
    return glyph.pictures[level], 2.0**-level
