"""Images as files in class folders, the layout of ImageNet and of most hand-made data sets.

<path>/<split>/<class>/**.jpg     divided:   train, validation (val, valid), test
<path>/<class>/**.jpg             undivided: a seeded, stratified split
"""

import dataclasses
import functools
import os
import warnings
from pathlib import Path

import numpy as np

from cvjax.data.bad_examples import BadExample
from cvjax.data.decode import MAX_PIXELS, decode_image
from cvjax.data.source import SourceInfo, stratified_split

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_DEFAULT_TEST_FRACTION = 0.2


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of one split. The training split's class folders, sorted, are the classes.

    Files are listed once, in the order of their names' bytes, by extension (`EXTENSIONS`, any
    case); hidden ones are left out. Symbolic links to class folders and files are followed, links
    to folders below are not. What a file holds is told by its content.

    A split without a folder of its own is a seeded share of each class: `test_fraction` of an
    undivided set is 0.2 unless given; `validation_fraction`, and `test_fraction` of a divided
    set, are 0 unless given. To give one where the folder exists is an error.
    """

    split: str
    _: dataclasses.KW_ONLY
    path: str
    channels: int = 3
    test_fraction: float | None = None
    validation_fraction: float | None = None
    seed: int = 0
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        self._listing  # noqa: B018

    @property
    def info(self) -> SourceInfo:
        classes = self._listing.classes
        return SourceInfo(f"folder[{self.split}] in {self.path}", classes, len(classes), None)

    def __len__(self) -> int:
        return len(self._listing.labels)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        data, fields = self.encoded(index)
        try:
            image = decode_image(data, channels=self.channels, max_pixels=self.max_pixels)
        except BadExample as error:
            raise error.at(self.describe(index)) from error
        return {"image": image, **fields}

    def encoded(self, index: int) -> tuple[bytes, dict[str, np.ndarray]]:
        """The file's bytes, and its label.

        Raises:
            BadExample: if the file cannot be read any more.
        """
        path = self.describe(index)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise BadExample(f"cannot be read: {error.strerror}", path) from error
        return data, {"label": np.asarray(self._listing.labels[index])}

    def describe(self, index: int) -> str:
        """The file's path."""
        return os.path.join(self._listing.root, os.fsdecode(self._listing.names[index]))

    @functools.cached_property
    def _listing(self) -> "_Listing":
        """Carried along by a pickle, so that every process sees the same files."""
        root = Path(self.path).expanduser()
        if self.split not in SPLIT_FOLDERS:
            raise ValueError(f"folder: unknown split {self.split!r}; known: {[*SPLIT_FOLDERS]}.")
        if not root.is_dir():
            raise FileNotFoundError(
                f"data.path: no folder {str(root)!r}. Expected class folders in it "
                "(<path>/<class>/*.jpg), or train and test folders that hold them."
            )
        folders = _split_folders(root)
        for name in ("test", "validation"):
            if name in folders and getattr(self, f"{name}_fraction") is not None:
                raise ValueError(
                    f"folder: {folders[name]} holds the {name} split, and {name}_fraction="
                    f"{getattr(self, f'{name}_fraction')} asks for another one; drop one of them."
                )
        if folders and "train" not in folders:
            raise FileNotFoundError(
                f"folder: {root} has {[folder.name for folder in folders.values()]} but no train "
                "folder, whose class folders say what the classes are."
            )
        train = folders.get("train", root)
        classes = _subfolders(train)
        if not classes:
            raise FileNotFoundError(f"folder: {train} has no class folders (<class>/*.jpg).")
        if self.split in folders and self.split != "train":
            self._check_classes(folders[self.split], train, classes)
            return _list_files(folders[self.split], classes)
        return self._part(_list_files(train, classes), folders)

    def _check_classes(self, folder: Path, train: Path, classes: tuple[str, ...]) -> None:
        found = _subfolders(folder)
        if found != classes:
            missing, extra = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
            raise ValueError(
                f"folder: {folder} has other class folders than {train}: "
                f"missing {_some(missing)}, unknown {_some(extra)}. "
                "A class without examples there still needs its (empty) folder."
            )

    def _part(self, listing: "_Listing", folders: dict[str, Path]) -> "_Listing":
        """What is left or taken of the training files by splits that have no folder."""
        empty = [name for i, name in enumerate(listing.classes) if not (listing.labels == i).any()]
        if empty:
            raise ValueError(f"folder: no images in {listing.root} for classes {_some(empty)}.")
        defaults = {"test": 0.0 if folders else _DEFAULT_TEST_FRACTION, "validation": 0.0}
        fractions = {}
        for name, default in defaults.items():
            if name not in folders:
                given = getattr(self, f"{name}_fraction")
                fractions[name] = default if given is None else given
        if self.split != "train" and not fractions[self.split] > 0:
            raise FileNotFoundError(
                f"folder: no {self.split} split: {self.path} has folders "
                f"{[folder.name for folder in folders.values()] or list(listing.classes)[:5]}, "
                f"looked for {list(SPLIT_FOLDERS[self.split])}. Add one, or set "
                f"{self.split}_fraction to take it from the training files."
            )
        indices = stratified_split(listing.labels, fractions, seed=self.seed)[self.split]
        return dataclasses.replace(
            listing, names=listing.names[indices], labels=listing.labels[indices]
        )


@dataclasses.dataclass(frozen=True)
class _Listing:
    root: str
    names: np.ndarray  # bytes [N], relative to root: a fifth of the memory of str objects
    labels: np.ndarray  # int32 [N]
    classes: tuple[str, ...]


def _split_folders(root: Path) -> dict[str, Path]:
    found = {}
    for split, names in SPLIT_FOLDERS.items():
        here = [root / name for name in names if (root / name).is_dir()]
        if len(here) > 1:
            raise ValueError(f"folder: which is the {split} split, {' or '.join(map(str, here))}?")
        if here:
            found[split] = here[0]
    return found


def _subfolders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
    return tuple(sorted(names, key=os.fsencode))


def _list_files(root: Path, classes: tuple[str, ...]) -> _Listing:
    names: list[bytes] = []
    labels: list[int] = []
    left_out: list[str] = []
    for label, class_name in enumerate(classes):
        for folder, _, files in os.walk(root / class_name):
            for file in files:
                path = os.path.join(folder, file)
                if file.startswith("."):
                    continue
                if file.lower().endswith(EXTENSIONS):
                    names.append(os.fsencode(os.path.relpath(path, root)))
                    labels.append(label)
                else:
                    left_out.append(path)
    if left_out:
        warnings.warn(
            f"folder: {len(left_out)} files without one of the endings {EXTENSIONS} are left "
            f"out, for example {min(left_out)}",
            stacklevel=2,
        )
    if not names:
        raise FileNotFoundError(
            f"folder: no images in {root}: {len(classes)} class folders ({_some(classes)}), none "
            f"with files that end in {EXTENSIONS}."
        )
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    return _Listing(
        str(root), np.array(names)[order], np.array(labels, np.int32)[order], tuple(classes)
    )


def _some(names: tuple[str, ...] | list[str]) -> str:
    """The first few of a long list."""
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"
