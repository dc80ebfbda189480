"""What a source of examples is, the in-memory kind, and the seeded stratified split they share.

A source maps an index to one example; it knows nothing of order, batches or devices. Three kinds:

- every source: `len(source)`, `source[i]`, `source.info`, `source.describe(i)`;
- in memory: also `batch(indices)`, which gathers many examples at once;
- encoded files: also `encoded(i)`, so that a view decodes no more of a file than it shows.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cvjax.data.decode import resize_images, set_channels


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before an example is read."""

    name: str  # "digits[train]"
    class_names: tuple[str, ...]  # () where the data set names none
    num_classes: int | None
    image_shape: tuple[int, int, int] | None  # (H, W, C) where every example has it
    keypoint_names: tuple[str, ...] = ()  # of `keypoints`, () where there are none
    words: tuple[str, ...] = ()  # what `tokens` are indices of


@runtime_checkable
class Source(Protocol):
    """Examples by index. Pickles cheaply: files are opened when first read, in every process."""

    info: SourceInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Example `index`: `image` uint8 [H, W, C] decoded whole, `label` int32 []."""
        ...

    def describe(self, index: int) -> str:
        """Where example `index` comes from: a file's path, or a name and a number."""
        ...


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A source held as two arrays. Subclasses are frozen dataclasses that define `_load`.

    Loaded at construction, so that what is missing is told there. Pickling carries the fields
    alone; a copy in another process loads again when first used.
    """

    def __post_init__(self) -> None:
        self._data  # noqa: B018

    def _load(self) -> "InMemoryData":
        """The whole split, as it is after resizing and channel conversion."""
        raise NotImplementedError

    @functools.cached_property
    def _data(self) -> "InMemoryData":
        data = self._load()
        data.images.setflags(write=False)
        data.labels.setflags(write=False)
        return data

    @property
    def info(self) -> SourceInfo:
        return self._data.info

    @property
    def images(self) -> np.ndarray:
        """uint8 [N, H, W, C], read-only."""
        return self._data.images

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], read-only."""
        return self._data.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"image": self.images[index], "label": np.asarray(self.labels[index])}

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The examples at `indices` (any order, repeats allowed) as new arrays."""
        return {
            "image": self.images.take(indices, axis=0),
            "label": self.labels.take(indices, axis=0),
        }

    def describe(self, index: int) -> str:
        return f"{self.info.name} example {index}"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True)
class InMemoryData:
    images: np.ndarray  # uint8 [N, H, W, C]
    labels: np.ndarray  # int32 [N]
    info: SourceInfo


def in_memory_data(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str] = (),
    num_classes: int | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> InMemoryData:
    """Images and labels brought to `image_size` and `channels`, with the info that describes them.

    Without class names and `num_classes`, the classes are 0 to the greatest label.

    Raises:
        ValueError: if lengths disagree, nothing is there, or a label is outside the classes.
    """
    if len(images) != len(labels):
        raise ValueError(f"{name}: {len(images)} images but {len(labels)} labels.")
    if len(labels) == 0:
        raise ValueError(f"{name}: no examples in it.")
    if num_classes is None:
        num_classes = len(class_names) or int(labels.max()) + 1
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, but there are "
            f"{num_classes} classes (0 to {num_classes - 1})."
        )
    if channels is not None:
        images = set_channels(images, channels)
    if image_size is not None:
        images = resize_images(images, image_size)
    info = SourceInfo(name, tuple(class_names), num_classes, tuple(images.shape[1:]))
    return InMemoryData(np.ascontiguousarray(images), labels.astype(np.int32), info)


def stratified_split(
    labels: np.ndarray, fractions: Mapping[str, float], *, seed: int
) -> dict[str, np.ndarray]:
    """Indices, ascending, of each named part and of `"train"`, which gets all the rest.

    Every class gives each part its fraction, rounded to the nearest count, and keeps at least one
    example for `"train"`. A part does not depend on the parts named after it.

    Raises:
        ValueError: if a fraction is outside [0, 1) or they sum to 1 or more.
    """
    if any(not 0 <= fraction < 1 for fraction in fractions.values()) or (
        sum(fractions.values()) >= 1
    ):
        raise ValueError(f"Fractions {dict(fractions)} must be in [0, 1) and sum to less than 1.")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *fractions)}
    labels = np.asarray(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = np.random.default_rng((seed, int(label))).permutation(members)
        start = 0
        for name, fraction in fractions.items():
            count = min(int(len(members) * fraction + 0.5), len(members) - 1 - start)
            parts[name].append(members[start : start + count])
            start += count
        parts["train"].append(members[start:])
    return {
        name: np.sort(np.concatenate(chunks)) if chunks else np.empty(0, np.int64)
        for name, chunks in parts.items()
    }


def select_part(
    name: str,
    labels: np.ndarray,
    split: str,
    *,
    test_fraction: float | None,
    validation_fraction: float,
    seed: int,
) -> np.ndarray:
    """Indices of `split` out of one undivided set.

    `test_fraction=None` says that the test split is elsewhere: only `train` and `validation` are
    parts of this set.

    Raises:
        ValueError: if `split` is no part, or is an empty one because its fraction is 0.
    """
    fractions = {} if test_fraction is None else {"test": test_fraction}
    fractions["validation"] = validation_fraction
    if split != "train" and split not in fractions:
        raise ValueError(f"{name}: unknown split {split!r}; known: {['train', *fractions]}.")
    if split != "train" and not fractions[split] > 0:
        raise ValueError(
            f"{name}: the {split} split is empty because {split}_fraction is "
            f"{fractions[split]}; set {split}_fraction to the share of examples it should get."
        )
    return stratified_split(labels, fractions, seed=seed)[split]
