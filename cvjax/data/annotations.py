"""Pictures from files with boxes: what is done about bad annotations, and one size for all.

The policy is one for every format, and nothing is dropped in silence. A box counts as

- `not_finite`: a side is NaN or infinite: dropped;
- `inverted`: its right side is left of its left one, or its bottom above its top: dropped, since
  what was meant can't be known;
- `zero_area`: dropped;
- `outside`: no part of it lies in the picture: dropped;
- `cut`: a part of it lies outside: kept, cut to the picture;
- `unknown_class`: its class is not among those asked for or described: dropped;
- `no_such_image`: its picture is not listed: dropped;
- `over_the_limit`: there are more than `max_objects` in the picture, and this one is among the
  smallest: dropped. Without a limit there is room for the fullest picture of the split;
- `no_objects`: a picture (not a box) in which nothing is left: kept, or left out, as
  `keep_empty` says.

Sources count all of these, keep the first few of each kind by name, and say so once in a warning;
with `on_bad_box="error"` the same report is an error. What is dropped takes no part in evaluation.
"""

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvjax.data.bad_examples import BadExample
from cvjax.data.decode import MAX_PIXELS, Box, open_image, resize_box

KINDS = (
    "not_finite", "inverted", "zero_area", "outside", "cut", "unknown_class", "no_such_image",
    "over_the_limit", "no_objects",
)  # fmt: skip
HARMLESS = ("cut", "no_objects")  # these alone are no error
FITS = ("pad", "stretch")
_SHOWN = 3
_FILL = 128  # grey around a padded picture


@dataclasses.dataclass(frozen=True)
class Thing:
    """One annotated object.

    Attributes:
        box: (x1, y1, x2, y2) in pixels of the picture, half-open.
        ignore: a crowd or a difficult object: neither learnt nor judged.
        area: what COCO's size classes go by; None is the box's.
        mask: COCO's segmentation as it stands in the file, or None.
        keypoints: (x, y, v) each.
    """

    box: tuple[float, float, float, float]
    label: int
    ignore: bool = False
    area: float | None = None
    mask: Any = None
    keypoints: tuple[tuple[float, float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
    """One annotated picture: a file, its size as the annotation has it, what is in it.

    With a `window` (x, y, width, height) the example is that part of the file, and `things` are in
    the window's own pixels; see `cvjax.data.tiling`.
    """

    path: str
    height: int
    width: int
    things: tuple[Thing, ...]
    captions: tuple[str, ...] = ()
    window: tuple[int, int, int, int] | None = None

    def describe(self) -> str:
        """The path, and where in the picture a window is."""
        return self.path if self.window is None else f"{self.path} at {self.window[:2]}"


class Report:
    """How many annotations of each kind were bad, and the first few of them by name."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.examples: dict[str, list[str]] = {kind: [] for kind in KINDS}

    def add(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        if len(self.examples[kind]) < _SHOWN:
            self.examples[kind].append(where)

    def __str__(self) -> str:
        lines = [
            f"{count} {kind}: {', '.join(self.examples[kind])}{', ...' if count > _SHOWN else ''}"
            for kind, count in self.counts.items()
            if count
        ]
        return "\n  ".join(lines)

    def tell(self, name: str, on_bad_box: str) -> None:
        """Warns, or raises, once, if anything was found.

        Raises:
            ValueError: with on_bad_box="error", if anything but `HARMLESS` kinds was found.
        """
        if not any(self.counts.values()):
            return
        text = f"{name}: annotations with problems (see cvjax.data.annotations):\n  {self}"
        if on_bad_box == "error" and any(
            count for kind, count in self.counts.items() if kind not in HARMLESS
        ):
            raise ValueError(f"{text}\n  Repair them or set on_bad_box='drop'.")
        warnings.warn(text, stacklevel=3)


def check_options(source: Any, name: str) -> None:
    """Checks the options that sources of pictures with boxes share.

    Raises:
        ValueError: naming every option of `source` whose value is not allowed.
    """
    problems = [
        f"{name}: {option}={getattr(source, option)!r} must be one of {list(known)}."
        for option, known in (
            ("fit", FITS), ("on_bad_box", ("drop", "error")), ("channels", (1, 3)),
        )
        if getattr(source, option) not in known
    ]  # fmt: skip
    for option in ("max_objects", "image_size", "tile"):
        value = getattr(source, option, None)
        if value is not None and value < 1:
            problems.append(f"{name}: {option}={value} must be at least 1, or None.")
    if not 0 <= getattr(source, "min_visible", 0) <= 1:
        problems.append(f"{name}: min_visible={source.min_visible} must be in [0, 1].")
    if getattr(source, "tile_overlap", 0) and source.tile is None:
        problems.append(
            f"{name}: tile_overlap={source.tile_overlap} needs tile, the windows' side."
        )
    if problems:
        raise ValueError("\n".join(problems))


def sound_things(
    things: Sequence[tuple[str, Thing]],
    *,
    height: int,
    width: int,
    report: Report,
) -> tuple[Thing, ...]:
    """What the policy above leaves of `things`, (where it stands, what it is), in their order."""
    kept = []
    for where, thing in things:
        x1, y1, x2, y2 = thing.box
        problem = None
        if not np.isfinite(thing.box).all():
            problem = "not_finite"
        elif x2 < x1 or y2 < y1:
            problem = "inverted"
        elif x2 == x1 or y2 == y1:
            problem = "zero_area"
        elif x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            problem = "outside"
        if problem is not None:
            report.add(problem, where)
            continue
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        if box != (x1, y1, x2, y2):
            report.add("cut", where)
        kept.append(dataclasses.replace(thing, box=box))
    return tuple(kept)


def largest(
    things: Sequence[tuple[str, Thing]], max_objects: int | None, report: Report
) -> tuple[Thing, ...]:
    """The `max_objects` largest of `things`, in their order; None is all of them."""
    if max_objects is not None and len(things) > max_objects:
        size = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for _, t in things]
        smallest = set(sorted(range(len(things)), key=lambda i: (-size[i], i))[max_objects:])
        for i in sorted(smallest):
            report.add("over_the_limit", things[i][0])
        things = [pair for i, pair in enumerate(things) if i not in smallest]
    return tuple(thing for _, thing in things)


def place(height: int, width: int, size: int | None, fit: str) -> tuple[int, int, np.ndarray]:
    """(height, width) of a picture within a square of `size`, and the matrix that takes it there.

    "pad" keeps the aspect: the longer side becomes `size` and the picture lies in the upper left
    corner; "stretch" fills the square. Without a size the picture stays as it is.
    """
    if size is None:
        new_height, new_width = height, width
    elif fit == "stretch":
        new_height = new_width = size
    else:
        scale = size / max(height, width)
        new_height = max(round(height * scale), 1)
        new_width = max(round(width * scale), 1)
    matrix = np.diag([new_width / width, new_height / height, 1.0]).astype(np.float32)
    return new_height, new_width, matrix


def load_example(
    picture: Picture,
    *,
    size: int | None,
    fit: str,
    channels: int,
    max_objects: int,
    num_keypoints: int = 0,
    masks: bool = False,
) -> dict[str, np.ndarray]:
    """The example of `picture`, as `make_example` has it.

    Raises:
        BadExample: if the file can't be read or has another size than its annotation says.
    """
    # A file in windows is asked for again and again.
    read = _read if picture.window is None else _read_once
    image = read(picture.path, channels)
    height, width = image.shape[:2]
    if (height, width) != (picture.height, picture.width):
        raise BadExample(
            f"is {width}x{height}, but its annotation says {picture.width}x{picture.height}",
            picture.path,
        )
    if picture.window is not None:
        x, y, width, height = picture.window
        image = image[y : y + height, x : x + width].copy()
    return make_example(
        image,
        picture.things,
        size=size,
        fit=fit,
        max_objects=max_objects,
        num_keypoints=num_keypoints,
        masks=masks,
    )


def _read(path: str, channels: int) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            return open_image(file.read(), channels=channels, max_pixels=MAX_PIXELS).whole()
    except OSError as error:
        raise BadExample(f"cannot be read: {error.strerror}", path) from error
    except BadExample as error:
        raise error.at(path) from error


_read_once = functools.lru_cache(maxsize=4)(_read)


def make_example(
    image: np.ndarray,
    things: Sequence[Thing],
    *,
    size: int | None,
    fit: str,
    max_objects: int,
    num_keypoints: int = 0,
    masks: bool = False,
) -> dict[str, np.ndarray]:
    """`image` [H, W, C] in a square of `size`, and the `things` in it, padded to `max_objects` = N,
    as docs/detection_data.md describes.

    `image` uint8 [size, size, C], `boxes` [N, 4], `box_label`, `box_valid`, `box_ignore`,
    `box_area` [N] (in pixels of the file), `view_matrix` [3, 3]; and `keypoints` [N, P, 3], `masks`
    [N, size, size] where asked for. Ignored objects are not valid.
    """
    height, width, channels = image.shape
    new_height, new_width, matrix = place(height, width, size, fit)
    if (new_height, new_width) != (height, width):
        image = resize_box(image, Box(0, 0, height, width), (new_height, new_width))
    side = (new_height, new_width) if size is None else (size, size)
    if image.shape[:2] != side:
        padded = np.full((*side, channels), _FILL, np.uint8)
        padded[:new_height, :new_width] = image
        image = padded

    scale_x, scale_y = float(matrix[0, 0]), float(matrix[1, 1])
    example = {
        "image": image,
        "boxes": np.zeros((max_objects, 4), np.float32),
        "box_label": np.zeros(max_objects, np.int32),
        "box_valid": np.zeros(max_objects, bool),
        "box_ignore": np.zeros(max_objects, bool),
        "box_area": np.zeros(max_objects, np.float32),
        "view_matrix": matrix,
    }
    if num_keypoints:
        example["keypoints"] = np.zeros((max_objects, num_keypoints, 3), np.float32)
    if masks:
        example["masks"] = np.zeros((max_objects, *side), bool)
    for i, thing in enumerate(things):
        x1, y1, x2, y2 = thing.box
        example["boxes"][i] = x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y
        example["box_label"][i] = thing.label
        example["box_valid"][i] = not thing.ignore
        example["box_ignore"][i] = thing.ignore
        example["box_area"][i] = (x2 - x1) * (y2 - y1) if thing.area is None else thing.area
        for j, (x, y, v) in enumerate(thing.keypoints[:num_keypoints]):
            if v > 0:
                example["keypoints"][i, j] = x * scale_x, y * scale_y, v
        if masks and thing.mask is not None:
            drawn = draw_mask(thing.mask, (height, width), (new_height, new_width))
            example["masks"][i, :new_height, :new_width] = drawn
    return example


def draw_mask(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any],
    shape: tuple[int, int],
    new_shape: tuple[int, int],
) -> np.ndarray:
    """bool [*new_shape]: COCO's polygons or run lengths of a picture of `shape`, resized.

    Polygons are scaled before they are drawn; of run lengths, each new pixel shows the one that
    its centre lies in.
    """
    from pycocotools import mask as coco_mask  # here: a compiled library that few sources need

    if isinstance(segmentation, Mapping):
        runs = dict(segmentation)
        if isinstance(runs["counts"], list):
            runs = coco_mask.frPyObjects(runs, *runs["size"])
        drawn = coco_mask.decode(runs).astype(bool)
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(new_shape, shape)
        )
        return drawn[rows[:, None], columns[None]]
    scale = np.array([new_shape[1] / shape[1], new_shape[0] / shape[0]])
    polygons = [
        (np.asarray(polygon, np.float64).reshape(-1, 2) * scale).ravel().tolist()
        for polygon in segmentation
        if len(polygon) >= 6
    ]
    if not polygons:
        return np.zeros(new_shape, bool)
    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, *new_shape))
    return coco_mask.decode(runs).astype(bool)
