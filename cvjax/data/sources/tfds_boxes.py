"""TFDS's data sets of objects, such as `coco/2017` and `voc/2007`, as pictures with boxes.

Read as `cvjax.data.sources.tfds` reads, without TensorFlow. TFDS has boxes as (ymin, xmin, ymax,
xmax), shares of the picture's height and width.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from cvjax.data.annotations import (
    HARMLESS,
    Report,
    Thing,
    check_options,
    largest,
    make_example,
    sound_things,
)
from cvjax.data.bad_examples import BadExample
from cvjax.data.source import SourceInfo
from cvjax.data.sources.tfds import PreparedSplit

_IGNORE = ("is_crowd", "is_difficult")
_UNITS = 1000


@dataclasses.dataclass(frozen=True)
class TfdsBoxes(PreparedSplit):
    """Pictures of one split with boxes, in TFDS's order.

    An example has `image`, `boxes`, `box_label`, `box_valid`, `box_ignore` (crowds and difficult
    objects), `box_area` (the segmentation's where the data set has it) and `view_matrix`. Labels
    are TFDS's; those of `voc` are VOC's twenty in their order. Bad annotations are dropped as
    `cvjax.data.annotations` says; records are read as they are asked for, so that it is `report`
    that counts them, by reading the split once.

    Attributes:
        split, dataset, path: as `cvjax.data.sources.tfds.PreparedSplit` has them.
        objects_key: the feature that is a sequence with `bbox`, `label` and perhaps `area`,
            `is_crowd`, `is_difficult`.
        first_pixel: what the data set calls the first pixel's left edge; None is 1 for TFDS's
            `voc`, which hands on VOC's corners counted from 1, and 0 otherwise.
        max_objects: the largest so many of a picture are kept.
        image_size, channels, fit: as `cvjax.data.sources.coco` has them.
        on_bad_box: "drop", or "error", which refuses the whole picture.
    """

    _: dataclasses.KW_ONLY
    objects_key: str = "objects"
    first_pixel: int | None = None
    max_objects: int = 100
    image_size: int | None = None
    channels: int = 3
    fit: str = "pad"
    on_bad_box: str = "drop"

    def __post_init__(self) -> None:
        check_options(self, "tfds_boxes")
        super().__post_init__()

    @functools.cached_property
    def info(self) -> SourceInfo:
        label = self._features["label"]
        size = self.image_size
        return SourceInfo(
            f"tfds/{self.dataset}[{self.split}]",
            tuple(getattr(label, "names", None) or ()),
            label.num_classes,
            None if size is None else (size, size, self.channels),
        )

    @functools.cached_property
    def report(self) -> Report:
        """What is wrong with the annotations of the whole split, which this reads once."""
        report = Report()
        for index in range(len(self)):
            _, fields = self.example(index)
            # The picture's size is not known without decoding it, nor needed: any will do.
            things = list(self._things(index, fields, _UNITS, _UNITS))
            kept = sound_things(things, height=_UNITS, width=_UNITS, report=report)
            named = [(f"example {index} object {i}", t) for i, t in enumerate(kept, start=1)]
            if not largest(named, self.max_objects, report):
                report.add("no_objects", f"example {index}")
        return report

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Example `index`.

        Raises:
            BadExample: if it can't be read, or has a bad box and `on_bad_box` is "error".
        """
        data, fields = self.example(index)
        image = self.decoded(data, index, self.channels)
        height, width = image.shape[:2]
        report = Report()
        things = list(self._things(index, fields, height, width))
        kept = sound_things(things, height=height, width=width, report=report)
        if self.on_bad_box == "error" and any(
            count for kind, count in report.counts.items() if kind not in HARMLESS
        ):
            raise BadExample(f"bad boxes: {report}", self.describe(index))
        kept = largest([("", thing) for thing in kept], self.max_objects, report)
        return make_example(
            image, kept, size=self.image_size, fit=self.fit, max_objects=self.max_objects
        )

    def _things(
        self, index: int, fields: Any, height: int, width: int
    ) -> Iterator[tuple[str, Thing]]:
        """(where it stands, what it is) of every object, in pixels of a picture of that size."""

        def numbers(name: str, kind: str) -> np.ndarray:
            key = f"{self.objects_key}/{name}"
            return np.asarray(getattr(fields[key], kind).value) if key in fields else np.zeros(0)

        boxes = numbers("bbox", "float_list").astype(np.float64).reshape(-1, 4)
        labels = numbers("label", "int64_list")
        ignore = [name for name in _IGNORE if name in self._features]
        areas = numbers("area", "int64_list") if "area" in self._features else None
        columns = [labels, *(numbers(name, "int64_list") for name in ignore)]
        if any(len(column) != len(boxes) for column in columns):
            raise BadExample("damaged record: boxes and labels differ in number",
                             self.describe(index))  # fmt: skip
        # In pixels the corner is counted from 0; the far ends are half-open already.
        first = self.first_pixel
        first = int(self._builder.info.name == "voc") if first is None else first
        for i, (y1, x1, y2, x2) in enumerate(boxes):
            box = (x1 * width - first, y1 * height - first, x2 * width, y2 * height)
            thing = Thing(
                box=tuple(map(float, box)),
                label=int(labels[i]),
                ignore=any(bool(column[i]) for column in columns[1:]),
                area=None if areas is None else float(areas[i]),
            )
            yield f"example {index} object {i + 1}", thing

    @property
    def _features(self) -> Any:
        return self._builder.info.features[self.objects_key].feature

    def _check_features(self, builder: Any) -> None:
        super()._check_features(builder)
        objects = self._feature(builder, "objects")
        found = getattr(objects, "feature", None)
        known = list(found) if hasattr(found, "keys") else []
        if not {"bbox", "label"} <= set(known):
            raise ValueError(
                f"tfds: feature {self.objects_key!r} of {self.dataset} is {objects}, expected a "
                "sequence with 'bbox' and 'label'."
            )
