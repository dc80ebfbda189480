"""COCO's format: one JSON file a split and a folder of pictures (Lin et al. 2014,
https://arxiv.org/abs/1405.0312; https://cocodataset.org/#format-data).
"""

import dataclasses
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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

TARGETS = ("masks", "keypoints", "caption")
MAX_WORDS = 48
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclasses.dataclass(frozen=True)
class Coco:
    """Pictures of one split with boxes and, as `targets` asks, more; ordered by image id.

    An example has `image`, `boxes`, `box_label`, `box_valid`, `box_ignore` (crowds), `box_area`
    (the segmentation's) and `view_matrix`, and with

    - "masks": `masks` [N, S, S], of polygons and run lengths alike;
    - "keypoints": `keypoints` [N, P, 3] of the first class that names some;
    - "caption": `tokens` [48], `token_valid`: the first caption's words, indices into
      `info.words`, which are all those of the file `words_from` ("<other>" for the rest).

    Labels are the categories in the order of their ids, or of `classes`. What is done about bad
    annotations is said in `cvjax.data.annotations`; `report` has the counts.

    Attributes:
        split: "train2017", ...: it stands for {split} in the paths below.
        path: the folder that those are relative to.
        annotations: instances_ or person_keypoints_.
        images: the folder of pictures.
        captions: the file of captions; words_from: the one whose words are known, that of the
            training split; "" is `captions` itself.
        image_size: the square that pictures are brought to, pixels; None leaves them, for a
            batch of one.
        fit: "pad" keeps their aspect, "stretch" does not.
        max_objects: N; None is as many as the fullest picture has.
        classes: names, the other ones are left out; () for all.
        tile, tile_overlap, min_visible: pictures in windows, as `cvjax.data.sources.voc` has them.
        keep_empty: whether pictures without objects are examples.
        on_bad_box: "drop" or "error".
    """

    split: str
    _: dataclasses.KW_ONLY
    path: str
    annotations: str = "annotations/instances_{split}.json"
    images: str = "{split}"
    captions: str = "annotations/captions_{split}.json"
    words_from: str = ""
    image_size: int | None = None
    channels: int = 3
    fit: str = "pad"
    max_objects: int | None = None
    classes: Sequence[str] = ()
    targets: Sequence[str] = ()
    keep_empty: bool = True
    on_bad_box: str = "drop"
    tile: int | None = None
    tile_overlap: int | Mapping[str, int] = 0
    min_visible: float = 0.5

    def __post_init__(self) -> None:
        check_options(self, "coco")
        unknown = [target for target in self.targets if target not in TARGETS]
        if unknown:
            raise ValueError(f"coco: targets={unknown} are unknown; known: {list(TARGETS)}.")
        self.report.tell(f"coco[{self.split}] in {self.path}", self.on_bad_box)

    @property
    def report(self) -> Report:
        """What was wrong with the annotations."""
        return self._listing.report

    @property
    def info(self) -> SourceInfo:
        listing = self._listing
        size = self.image_size
        return SourceInfo(
            f"coco[{self.split}] in {self.path}",
            listing.classes,
            len(listing.classes),
            None if size is None else (size, size, self.channels),
            keypoint_names=listing.keypoint_names if "keypoints" in self.targets else (),
            words=listing.words,
        )

    def __len__(self) -> int:
        return len(self._listing.pictures)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        listing = self._listing
        picture = listing.pictures[index]
        example = load_example(
            picture,
            size=self.image_size,
            fit=self.fit,
            channels=self.channels,
            max_objects=listing.max_objects,
            num_keypoints=len(listing.keypoint_names) if "keypoints" in self.targets else 0,
            masks="masks" in self.targets,
        )
        if "caption" in self.targets:
            words = split_words(picture.captions[0])[:MAX_WORDS] if picture.captions else []
            tokens = np.zeros(MAX_WORDS, np.int32)
            tokens[: len(words)] = [self._word_index.get(word, 0) for word in words]
            example |= {"tokens": tokens, "token_valid": np.arange(MAX_WORDS) < len(words)}
        return example

    def all_captions(self, index: int) -> tuple[str, ...]:
        """Every caption of example `index`, as people wrote them."""
        return self._listing.pictures[index].captions

    def describe(self, index: int) -> str:
        """The picture's path."""
        return self._listing.pictures[index].describe()

    @functools.cached_property
    def _word_index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self._listing.words)}

    @functools.cached_property
    def _listing(self) -> "_Listing":
        """Carried along by a pickle, so that the file is read once."""
        data = self._read(self.annotations, "data.options.annotations")
        categories = sorted(data.get("categories", ()), key=lambda c: c["id"])
        names = tuple(c["name"] for c in categories)
        classes = tuple(self.classes) or names
        missing = [name for name in classes if name not in names]
        if missing:
            raise ValueError(f"coco: classes={missing} are not in the file, which has {names}.")
        label = {c["id"]: classes.index(c["name"]) for c in categories if c["name"] in classes}
        left_out = {c["id"] for c in categories} - set(label)
        report = Report()
        folder = data_folder(self.path) / self.images.format(split=self.split)
        images = {image["id"]: image for image in data.get("images", ())}
        things: dict[Any, list[tuple[str, Thing]]] = {key: [] for key in images}
        for entry in data.get("annotations", ()):
            where = f"annotation {entry.get('id')}"
            if entry["image_id"] not in images:
                report.add("no_such_image", where)
            elif entry["category_id"] in label:
                thing = _thing(entry, label[entry["category_id"]], self.targets)
                things[entry["image_id"]].append((where, thing))
            elif entry["category_id"] not in left_out:
                report.add("unknown_class", f"{where} (category {entry['category_id']})")
        captions = self._captions() if "caption" in self.targets else {}
        found = []
        for key in sorted(images):
            image = images[key]
            height, width = image["height"], image["width"]
            kept = sound_things(things[key], height=height, width=width, report=report)
            file, words = str(folder / image["file_name"]), tuple(captions.get(key, ()))
            found.append((image["file_name"], Picture(file, height, width, kept, words)))
        pictures = listed_pictures(found, self, report)
        if not pictures:
            raise ValueError(f"coco[{self.split}]: no examples in it.\n  {report}")
        keypoints = [tuple(c["keypoints"]) for c in categories if c.get("keypoints")]
        if "keypoints" in self.targets and not keypoints:
            raise ValueError(
                "coco: no category names keypoints. Set data.options.annotations to a file that "
                "has some, such as 'annotations/person_keypoints_{split}.json'."
            )
        fullest = max((len(p.things) for p in pictures), default=0)
        return _Listing(
            pictures,
            classes,
            keypoints[0] if keypoints else (),
            self._words() if "caption" in self.targets else (),
            self.max_objects or max(fullest, 1),
            report,
        )

    def _captions(self) -> dict[Any, list[str]]:
        found: dict[Any, list[str]] = {}
        entries = self._read(self.captions, "data.options.captions")["annotations"]
        for entry in sorted(entries, key=lambda e: e["id"]):
            found.setdefault(entry["image_id"], []).append(entry["caption"])
        return found

    def _words(self) -> tuple[str, ...]:
        entries = self._read(self.words_from or self.captions, "data.options.words_from")
        counts = Counter(w for e in entries["annotations"] for w in split_words(e["caption"]))
        return ("<other>", *sorted(counts, key=lambda word: (-counts[word], word)))

    def _read(self, name: str, option: str) -> dict[str, Any]:
        path = data_folder(self.path) / name.format(split=self.split)
        if not path.is_file():
            raise FileNotFoundError(
                f"{option}: no file {str(path)!r}. data.path is the folder that holds COCO's "
                "annotations/ and the folders of pictures."
            )
        with path.open(encoding="utf-8") as file:
            return json.load(file)


@dataclasses.dataclass(frozen=True)
class _Listing:
    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]
    keypoint_names: tuple[str, ...]
    words: tuple[str, ...]
    max_objects: int
    report: Report


def split_words(caption: str) -> list[str]:
    """Lower-case words and punctuation marks."""
    return _WORD.findall(caption.lower())


def _thing(entry: dict[str, Any], label: int, targets: Sequence[str]) -> Thing:
    try:
        x, y, width, height = map(float, entry["bbox"])
    except (KeyError, TypeError, ValueError):
        x = y = width = height = math.nan  # which the policy drops
    points = entry.get("keypoints", ()) if "keypoints" in targets else ()
    points = np.asarray(points, np.float64).reshape(-1, 3)
    return Thing(
        box=(x, y, x + width, y + height),
        label=label,
        ignore=bool(entry.get("iscrowd", 0)),
        area=float(entry["area"]) if "area" in entry else None,
        mask=entry.get("segmentation") if "masks" in targets else None,
        keypoints=tuple(map(tuple, points.tolist())),
    )
