"""PASCAL VOC's format: an XML file a picture (Everingham et al. 2010,
http://host.robots.ox.ac.uk/pascal/VOC/).

<path>/ImageSets/Main/<split>.txt     names, one a line; what stands behind them is not read
<path>/Annotations/<name>.xml
<path>/JPEGImages/<name>.jpg
"""

import dataclasses
import functools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cvjax.data.annotations import (
    Picture,
    Report,
    Thing,
    check_options,
    load_example,
    sound_things,
)
from cvjax.data.installed import data_folder
from cvjax.data.source import SourceInfo
from cvjax.data.tiling import listed_pictures

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Voc:
    """Pictures of one split with boxes, in the order of its list.

    An example has `image`, `boxes`, `box_label`, `box_valid`, `box_ignore` (difficult objects),
    `box_area` and `view_matrix`. VOC counts pixels from 1 and includes both ends: (1, 1, w, h) is
    the whole picture and becomes (0, 0, w, h). What is done about bad annotations is said in
    `cvjax.data.annotations`; `report` has the counts.

    Attributes:
        split: "trainval", "train", "val", "test", or the name of any other list.
        path: such as VOCdevkit/VOC2007; "package:name/folder" is in an installed package. Several
            years' pictures follow each other; a year that lacks the split's list adds nothing.
        classes: the names, in the order of their labels.
        lists, annotations, images: where the files are, relative to `path`.
        names: of the pictures of each split, in the place of lists: {"train": ["a", "b"], ...}.
        tile: pictures are examples in windows of so many pixels, as `cvjax.data.tiling` says, with
            at least `tile_overlap` between neighbours (one number, or one for each split); objects
            of which less than `min_visible` is left in a window are ignored there. None: whole.
        others: `image_size`, `channels`, `fit`, `max_objects`, `keep_empty`, `on_bad_box` as
            `cvjax.data.sources.coco` has them.
    """

    split: str
    _: dataclasses.KW_ONLY
    path: str | Sequence[str]
    classes: Sequence[str] = CLASSES
    lists: str = "ImageSets/Main/{split}.txt"
    annotations: str = "Annotations/{name}.xml"
    images: str = "JPEGImages/{name}.jpg"
    names: Mapping[str, Sequence[str]] | None = None
    tile: int | None = None
    tile_overlap: int | Mapping[str, int] = 0
    min_visible: float = 0.5
    image_size: int | None = None
    channels: int = 3
    fit: str = "pad"
    max_objects: int | None = None
    keep_empty: bool = True
    on_bad_box: str = "drop"

    def __post_init__(self) -> None:
        check_options(self, "voc")
        self.report.tell(self.info.name, self.on_bad_box)

    @property
    def report(self) -> Report:
        """What was wrong with the annotations."""
        return self._listing.report

    @property
    def info(self) -> SourceInfo:
        size = self.image_size
        shape = None if size is None else (size, size, self.channels)
        classes = tuple(self.classes)
        where = self.path if isinstance(self.path, str) else ", ".join(self.path)
        return SourceInfo(f"voc[{self.split}] in {where}", classes, len(classes), shape)

    def __len__(self) -> int:
        return len(self._listing.pictures)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return load_example(
            self._listing.pictures[index],
            size=self.image_size,
            fit=self.fit,
            channels=self.channels,
            max_objects=self._listing.max_objects,
        )

    def describe(self, index: int) -> str:
        """The picture's path."""
        return self._listing.pictures[index].describe()

    @functools.cached_property
    def _listing(self) -> "_Listing":
        """Carried along by a pickle, so that the files are read once."""
        report = Report()
        found = [
            (name, self._picture(root, name, report))
            for root, names in self._names().items()
            for name in names
        ]
        pictures = listed_pictures(found, self, report)
        if not pictures:
            raise ValueError(f"voc[{self.split}]: no examples in it.\n  {report}")
        fullest = max(len(p.things) for p in pictures)
        return _Listing(pictures, self.max_objects or max(fullest, 1), report)

    def _names(self) -> dict[Path, list[str]]:
        """The names of the split's pictures, by folder."""
        paths = [self.path] if isinstance(self.path, str) else self.path
        roots = [data_folder(path) for path in paths]
        if self.names is not None:
            if self.split not in self.names:
                raise ValueError(
                    f"voc: names has no split {self.split!r}, only {sorted(self.names)}."
                )
            return {root: list(self.names[self.split]) for root in roots}
        files = {root: root / self.lists.format(split=self.split) for root in roots}
        if not any(file.is_file() for file in files.values()):
            there = {p.stem for file in files.values() for p in file.parent.glob("*.txt")}
            raise FileNotFoundError(
                f"voc: no list {[str(file) for file in files.values()]}; there are: "
                f"{sorted(there) or 'none'}. data.path is a year's folder, such as "
                "VOCdevkit/VOC2007, or several."
            )
        return {
            root: [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
            for root, file in files.items()
            if file.is_file()
        }

    def _picture(self, root: Path, name: str, report: Report) -> Picture:
        path = root / self.annotations.format(name=name)
        try:
            tree = ElementTree.parse(path).getroot()
            size = tree.find("size")
            height, width = int(size.find("height").text), int(size.find("width").text)
        except FileNotFoundError:
            raise FileNotFoundError(f"voc: {path} is missing, but is named.") from None
        except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"voc: {path} is no annotation with a size: {error}") from error
        things = []
        for number, entry in enumerate(tree.iter("object"), start=1):
            where = f"{name} object {number}"
            kind = entry.findtext("name", "").strip()
            if kind not in self.classes:
                report.add("unknown_class", f"{where} ({kind})")
                continue
            x1, y1, x2, y2 = (
                _number(entry.findtext(f"bndbox/{side}"))
                for side in ("xmin", "ymin", "xmax", "ymax")
            )
            things.append(
                (
                    where,
                    Thing(
                        box=(x1 - 1, y1 - 1, x2, y2),
                        label=tuple(self.classes).index(kind),
                        ignore=entry.findtext("difficult", "0").strip() == "1",
                    ),
                )
            )
        kept = sound_things(things, height=height, width=width, report=report)
        return Picture(str(root / self.images.format(name=name)), height, width, kept)


@dataclasses.dataclass(frozen=True)
class _Listing:
    pictures: tuple[Picture, ...]
    max_objects: int
    report: Report


def _number(text: str | None) -> float:
    """NaN, which the policy drops, where there is no number."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
