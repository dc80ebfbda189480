"""Data sets in NumPy's .npz files: one's own arrays, Keras's mnist.npz, MedMNIST.

What is looked for, with `image` also spelt `images` or `x`, and `label` spelt `labels` or `y`:

    <path>/<split>.npz    keys image, label                              a file per split
    <path>                keys train_image, train_label, test_image ...  divided; also x_train
    <path>                keys image, label                              undivided: a seeded split
"""

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvjax.data.source import InMemory, InMemoryData, in_memory_data, select_part

_SPLITS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
_FIELDS = {"image": ("image", "images", "x"), "label": ("label", "labels", "y")}
_DEFAULT_TEST_FRACTION = 0.2


@dataclasses.dataclass(frozen=True)
class Arrays(InMemory):
    """One split of arrays: images uint8 [N, H, W] or [N, H, W, 1 or 3], labels [N] or [N, 1].

    `path` is one .npz file or a folder of them. A split that the files do not have is a seeded,
    stratified share of the training examples: `test_fraction` of an undivided file is 0.2 unless
    given, `validation_fraction` 0. To give one where the split exists is an error. `channels`
    converts; None keeps what is there.
    """

    split: str
    _: dataclasses.KW_ONLY
    path: str
    image_size: int | None = None
    channels: int | None = None
    class_names: Sequence[str] = ()
    test_fraction: float | None = None
    validation_fraction: float | None = None
    seed: int = 0

    def _load(self) -> InMemoryData:
        if self.split not in _SPLITS:
            raise ValueError(f"arrays: unknown split {self.split!r}; known: {list(_SPLITS)}.")
        path = Path(self.path).expanduser()
        found = _find_splits(path)
        for name in ("test", "validation"):
            if name in found and getattr(self, f"{name}_fraction") is not None:
                raise ValueError(
                    f"arrays: {path} holds a {name} split, and {name}_fraction="
                    f"{getattr(self, f'{name}_fraction')} asks for another one; drop one of them."
                )
        place = found.get(self.split) or found.get("train") or found.get("all")
        if place is None:
            raise ValueError(f"arrays: {path} has only {sorted(found)}, and no training split.")
        name = f"arrays[{self.split}] in {place.file}"
        images, labels = _read(place)
        num_classes = len(self.class_names) or int(labels.max(initial=0)) + 1
        if self.split not in found or self.split == "train":
            undivided = "all" in found
            test = self.test_fraction
            if test is None and "test" not in found:
                test = _DEFAULT_TEST_FRACTION if undivided else 0.0
            indices = select_part(
                name,
                labels,
                self.split,
                test_fraction=None if "test" in found else test,
                validation_fraction=self.validation_fraction or 0.0,
                seed=self.seed,
            )
            images, labels = images[indices], labels[indices]
        return in_memory_data(
            name,
            images,
            labels,
            class_names=self.class_names,
            num_classes=num_classes,
            image_size=self.image_size,
            channels=self.channels,
        )


@dataclasses.dataclass(frozen=True)
class _Place:
    file: Path
    image: str
    label: str


def _find_splits(path: Path) -> dict[str, _Place]:
    """Split -> where its arrays are; "all" for arrays that belong to no split."""
    if path.is_dir():
        files = {
            split: path / f"{name}.npz"
            for split, names in _SPLITS.items()
            for name in names
            if (path / f"{name}.npz").is_file()
        }
        if not files:
            raise FileNotFoundError(
                f"data.path: no train.npz or test.npz in {path}; there are "
                f"{sorted(file.name for file in path.iterdir())[:10]}."
            )
        return {split: _place(file, _keys(file), ("{field}",)) for split, file in files.items()}
    if not path.is_file():
        raise FileNotFoundError(
            f"data.path: no file or folder {str(path)!r}. Expected an .npz file with keys image "
            "and label (or train_image, train_label, test_image ...), or a folder with train.npz "
            "and test.npz. np.savez(path, image=..., label=...) writes one."
        )
    keys = _keys(path)
    found = {}
    for split, names in _SPLITS.items():
        for name in names:
            place = _place(path, keys, (f"{name}_{{field}}", f"{{field}}_{name}"), required=False)
            if place is not None:
                found[split] = place
    return found or {"all": _place(path, keys, ("{field}",))}


def _place(
    file: Path, keys: list[str], patterns: tuple[str, ...], *, required: bool = True
) -> _Place | None:
    chosen = {}
    for field, spellings in _FIELDS.items():
        names = [pattern.format(field=s) for pattern in patterns for s in spellings]
        chosen[field] = [name for name in names if name in keys]
    if all(len(names) == 1 for names in chosen.values()):
        return _Place(file, chosen["image"][0], chosen["label"][0])
    if not required and not any(chosen.values()):
        return None
    raise ValueError(
        f"{file}: expected one array of images (a key among {list(_FIELDS['image'])}) and one of "
        f"labels ({list(_FIELDS['label'])}), also per split as train_image or x_train; "
        f"its keys are {keys}."
    )


def _keys(file: Path) -> list[str]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return sorted(archive.keys())
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(f"{file}: no readable .npz file ({error}).") from error


def _read(place: _Place) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, C] and labels int64 [N]."""
    try:
        with np.load(place.file, allow_pickle=False) as archive:
            images, labels = archive[place.image], archive[place.label]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{place.file}: damaged or not plain arrays ({error}).") from error
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{place.file}: {place.image} is {images.dtype} {images.shape}, expected uint8 "
            "[N, H, W] or [N, H, W, 1 or 3]. Floats in [0, 1] become bytes by "
            "(255 * x).round().astype('uint8')."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{place.file}: {place.label} is {labels.dtype} {labels.shape}, expected integers "
            "[N] or [N, 1]. One-hot rows become integers by labels.argmax(-1)."
        )
    if len(images) != len(labels):
        raise ValueError(f"{place.file}: {len(images)} images but {len(labels)} labels.")
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{place.file}: {place.label} runs from {labels.min()} to {labels.max()}.")
    return images, labels.astype(np.int64)
