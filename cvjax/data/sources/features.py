"""A frozen network's features of another source's examples, computed once and kept in files.

Chollet et al. 2017 ("Deep Learning with Python", section 5.3): run the base over the data, store
what comes out, train a classifier on that. <cache>/<key>/ holds

    features.npy     float32 [N, D]
    labels.npy       int32 [N]
    manifest.json    what they were made from, and their checksums

The key is a digest of everything that the features depend on: the base and its weights, the
images' size and normalisation, the examples. So another base, or a file that changed, never meets
the features of before; they are computed anew, and the old folder may be deleted at any time.
"""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.data.source import Source, SourceInfo

MANIFEST = "manifest.json"
_FORMAT = 1  # of the files; part of the key
_CHUNK = 256  # examples that are hashed at a time
log = logging.getLogger("cvjax")


@dataclasses.dataclass(frozen=True)
class Features:
    """`source` with float32 features [1, 1, D] in the place of each image.

    Nothing is computed or read before the first example is asked for.

    Attributes:
        extract: source -> (features float32 [N, D], labels [N]) of all its examples in order.
        width: () -> D, known from shapes alone.
        made_by: whatever decides what `extract` gives for an image: plain data, in the manifest.
        cache: the folder that holds the folders of features.
    """

    source: Source
    _: dataclasses.KW_ONLY
    extract: Callable[[Source], tuple[np.ndarray, np.ndarray]]
    width: Callable[[], int]
    made_by: Mapping[str, Any]
    cache: Path

    @cached_property
    def info(self) -> SourceInfo:
        base = self.source.info
        return dataclasses.replace(
            base, name=f"features of {base.name}", image_shape=(1, 1, self.width())
        )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        features, labels = self._rows
        return {"image": features[index, None, None], "label": np.asarray(labels[index])}

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The examples at `indices` (any order, repeats allowed) as new arrays."""
        features, labels = self._rows
        return {"image": features[indices, None, None], "label": labels[indices]}

    def blank(self, count: int) -> dict[str, np.ndarray]:
        """Zeros shaped as a batch, without computing a feature."""
        shape = (count, *self.info.image_shape)
        return {"image": np.zeros(shape, np.float32), "label": np.zeros(count, np.int32)}

    def describe(self, index: int) -> str:
        return f"features of {self.source.describe(index)}"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the features are made from."""
        made_by = {
            "format": _FORMAT,
            **self.made_by,
            "source": self.source.info.name,
            "examples": len(self.source),
            "examples_digest": examples_digest(self.source),
        }
        return json.loads(json.dumps(made_by))  # as it is read back

    @property
    def folder(self) -> Path:
        """Where these features are kept."""
        text = json.dumps(self.manifest, sort_keys=True)
        return self.cache / hashlib.sha256(text.encode()).hexdigest()[:20]

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        found, why = self._read()
        if found is None:
            log.info("%s: %s; computing %d", self.info.name, why, len(self))
            found = self.extract(self.source)
            self._write(*found)
        else:
            log.info("%s: read from %s", self.info.name, self.folder)
        for array in found:
            array.setflags(write=False)
        return found

    def _read(self) -> tuple[tuple[np.ndarray, np.ndarray] | None, str]:
        """The kept rows, or None and why there are none."""
        folder = self.folder
        if not (folder / MANIFEST).is_file():
            return None, f"none are kept in {self.cache}"
        try:
            kept = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            features, labels = (np.load(folder / f"{n}.npy") for n in ("features", "labels"))
        except (OSError, ValueError, EOFError) as error:
            return None, f"what {folder} keeps cannot be read ({error})"
        if kept.get("made_by") != self.manifest:
            return None, f"{folder} keeps those of something else"
        if features.shape != (len(self), self.width()) or kept.get("crc32") != _checksums(
            features, labels
        ):
            return None, f"what {folder} keeps is damaged"
        return (features, labels), ""

    def _write(self, features: np.ndarray, labels: np.ndarray) -> None:
        """All files at once: a folder that is there is whole."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".unfinished_", dir=self.cache))
            try:
                np.save(unfinished / "features.npy", features)
                np.save(unfinished / "labels.npy", labels)
                kept = {"made_by": self.manifest, "crc32": _checksums(features, labels)}
                text = json.dumps(kept, indent=1) + "\n"
                (unfinished / MANIFEST).write_text(text, encoding="utf-8")
                shutil.rmtree(self.folder, ignore_errors=True)  # damaged, or of another process
                os.replace(unfinished, self.folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:  # the run needs the features, not the files
            log.warning("%s: not kept in %s (%s)", self.info.name, self.cache, error)
        else:
            log.info("%s: kept in %s", self.info.name, self.folder)


def examples_digest(source: Source) -> str:
    """A digest of the examples: of their bytes where they lie in memory, else of what `describe`
    says and, where that is a file's path, the file's size and time of change."""
    digest = hashlib.sha256()
    for start in range(0, len(source), _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, len(source)))
        if hasattr(source, "batch"):
            for name, array in sorted(source.batch(indices).items()):
                digest.update(f"{name} {array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array))
            continue
        for index in indices:
            where = source.describe(int(index))
            digest.update(where.encode(errors="surrogateescape"))
            if os.path.isfile(where):
                state = os.stat(where)
                digest.update(f" {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()


def _checksums(*arrays: np.ndarray) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(array)) for array in arrays]
