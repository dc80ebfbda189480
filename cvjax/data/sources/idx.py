"""Data sets in the MNIST file format (idx), plain or gzip: MNIST, Fashion-MNIST, KMNIST.

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, the element type, the number of
dimensions, each dimension as a big-endian 32-bit integer, then the elements in row-major order).
"""

import dataclasses
import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvjax.data.source import InMemory, InMemoryData, in_memory_data, select_part

CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
_FILE_PREFIX = {"train": "train", "validation": "train", "test": "t10k"}
_ELEMENT_TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32"}


@dataclasses.dataclass(frozen=True)
class Idx(InMemory):
    """The four idx files' `split`, all in memory.

    `path` is a folder, or several of which the first that holds the split's two files is read.
    `class_names` are the names, or the key of a known list (`CLASS_NAMES`). "validation" is a
    seeded, stratified `validation_fraction` of the training files, which "train" then leaves out.
    """

    split: str
    _: dataclasses.KW_ONLY
    path: str | Sequence[str]
    image_size: int | None = None
    channels: int = 1
    class_names: str | Sequence[str] = ()
    validation_fraction: float = 0.0
    seed: int = 0

    def _load(self) -> InMemoryData:
        if self.split not in _FILE_PREFIX:
            raise ValueError(f"idx: unknown split {self.split!r}; known: {list(_FILE_PREFIX)}.")
        image_file, label_file = self._find_files()
        images = read_idx(image_file, dims=3)
        labels = read_idx(label_file, dims=1)
        name = f"idx[{self.split}] in {image_file.parent}"
        if len(images) != len(labels):
            raise ValueError(
                f"{image_file} has {len(images)} images but {label_file} has {len(labels)} labels."
            )
        num_classes = len(self._names()) or int(labels.max(initial=0)) + 1
        if self.split != "test":
            indices = select_part(
                name,
                labels,
                self.split,
                test_fraction=None,
                validation_fraction=self.validation_fraction,
                seed=self.seed,
            )
            images, labels = images[indices], labels[indices]
        return in_memory_data(
            name,
            images[..., None],
            labels,
            class_names=self._names(),
            num_classes=num_classes,
            image_size=self.image_size,
            channels=self.channels,
        )

    def _names(self) -> tuple[str, ...]:
        if not isinstance(self.class_names, str):
            return tuple(self.class_names)
        if self.class_names not in CLASS_NAMES:
            raise ValueError(
                f"idx: no class names known for {self.class_names!r}; known: {list(CLASS_NAMES)}. "
                "Give the names themselves as a list."
            )
        return CLASS_NAMES[self.class_names]

    def _find_files(self) -> tuple[Path, Path]:
        folders = [self.path] if isinstance(self.path, str) else list(self.path)
        prefix = _FILE_PREFIX[self.split]
        looked_for = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        for folder in folders:
            found = [_existing(Path(folder).expanduser(), name) for name in looked_for]
            if all(found):
                return found[0], found[1]
        raise FileNotFoundError(
            f"data.path: {looked_for[0]} and {looked_for[1]} (plain or .gz) are in none of "
            f"{[str(folder) for folder in folders]}. Three ways to get Fashion-MNIST:\n"
            "  1. Debian or Ubuntu: `apt-get install dataset-fashion-mnist` puts the files into "
            "/usr/share/datasets/fashion-mnist.\n"
            "  2. By hand: put the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz of "
            "https://github.com/zalandoresearch/fashion-mnist into a folder and set data.path "
            "to it (MNIST and KMNIST likewise).\n"
            "  3. TFDS: `pip install tensorflow` and `tfds build --file_format=array_record "
            'fashion_mnist`, then set data.name="tfds/fashion_mnist".'
        )


def read_idx(path: str | Path, *, dims: int) -> np.ndarray:
    """The array of unsigned bytes in one idx file, plain or gzip (told by content, not name).

    Raises:
        ValueError: if the file is no idx file, has other dimensions or element type, or its
            length disagrees with its header (truncated, or trailing bytes).
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: truncated or damaged gzip file ({error}).") from error
    header = 4 + 4 * dims
    if len(content) < header:
        raise ValueError(f"{path}: truncated: {len(content)} bytes, its header alone is {header}.")
    zeros, element_type, found_dims = struct.unpack(">HBB", content[:4])
    if zeros != 0 or element_type not in _ELEMENT_TYPES:
        raise ValueError(f"{path}: no idx file: it begins with {content[:4].hex(' ')}.")
    if element_type != 0x08 or found_dims != dims:
        raise ValueError(
            f"{path}: {found_dims} dimensions of {_ELEMENT_TYPES[element_type]}, "
            f"expected {dims} of uint8."
        )
    shape = struct.unpack(f">{dims}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "longer than its header says"
        raise ValueError(
            f"{path}: {state}: {len(content)} bytes where shape {shape} needs {expected}."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _existing(folder: Path, name: str) -> Path | None:
    # Also `train-images.idx3-ubyte`, the spelling in which MNIST is often passed on.
    spellings = (name, name.replace("-idx", ".idx"))
    for candidate in (spelling + ending for spelling in spellings for ending in ("", ".gz")):
        if (folder / candidate).is_file():
            return folder / candidate
    return None
