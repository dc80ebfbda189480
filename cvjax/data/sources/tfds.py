"""Data sets prepared by TensorFlow Datasets, read without TensorFlow.

array_record is read through `tfds.data_source`'s reader; tfrecord by an index of its records, made
from their length fields when a file is first read. Images stay encoded until a view wants them.
TensorFlow (the `tensorflow` extra) is needed by most builders to prepare a data set, once.
"""

import dataclasses
import difflib
import functools
import json
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cvjax.data.bad_examples import BadExample
from cvjax.data.decode import MAX_PIXELS, decode_image
from cvjax.data.source import SourceInfo


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
    """The records of one split of a prepared data set, as bytes; what its sources share.

    `split` is "train", "test", or any TFDS spec like "train[:90%]". `dataset` is TFDS's name, with
    a configuration or version if wanted ("mnist", "cifar10:3.0.2", "voc/2007"); `path` its data_dir
    ("" is TFDS's own, ~/tensorflow_datasets), or the very folder with the data set's
    dataset_info.json.
    """

    split: str
    _: dataclasses.KW_ONLY
    dataset: str
    path: str = ""
    image_key: str = "image"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        self._records  # noqa: B018

    def __len__(self) -> int:
        return len(self._records)

    def example(self, index: int) -> tuple[bytes, Any]:
        """The image file's bytes, and the record's fields by name.

        Raises:
            BadExample: if the record cannot be read.
        """
        # TFDS's own example format; its generic reader takes 50 times as long for two fields.
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            example = tf_example_pb2.Example.FromString(self._records[index])
            fields = example.features.feature
            return fields[self.image_key].bytes_list.value[0], fields
        except Exception as error:  # readers and protobuf have error types of their own
            raise BadExample(f"damaged record: {error}", self.describe(index)) from error

    def decoded(self, data: bytes, index: int, channels: int) -> np.ndarray:
        """The image [H, W, channels] that `data`, example `index`'s file, holds.

        Raises:
            BadExample: if it cannot be decoded; it names the example.
        """
        try:
            return decode_image(data, channels=channels, max_pixels=self.max_pixels)
        except BadExample as error:
            raise error.at(self.describe(index)) from error

    def describe(self, index: int) -> str:
        return f"tfds/{self.dataset}[{self.split}] example {index}"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _builder(self) -> Any:
        builder = self._find_builder()
        if builder is None or not builder.info.splits:
            raise FileNotFoundError(self._how_to_prepare(builder))
        return builder

    @functools.cached_property
    def _records(self) -> "_Records":
        import tensorflow_datasets as tfds

        builder = self._builder
        self._check_features(builder)
        try:
            split = builder.info.splits[self.split]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"tfds: {self.dataset} has no split {self.split!r}; there are "
                f"{list(builder.info.splits)}, also parts such as 'train[:90%]'."
            ) from error
        stored = {item.value for item in builder.info.available_file_formats()}
        if "array_record" in stored:
            return builder.as_data_source(
                split=self.split,
                deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
                file_format="array_record",
            )
        if "tfrecord" in stored:
            return TfRecords(
                tuple((str(part.filename), part.skip, part.take)
                      for part in split.file_instructions)
            )  # fmt: skip
        raise ValueError(
            f"tfds: {builder.data_path} is stored as {sorted(stored)}; array_record and tfrecord "
            f"can be read.\n{self._how_to_prepare(builder)}"
        )

    def _find_builder(self) -> Any:
        """None where the data set is not prepared and its builder's code needs TensorFlow."""
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core import read_only_builder

        folder = os.path.expanduser(self.path)
        if folder and os.path.isfile(os.path.join(folder, "dataset_info.json")):
            _check_name(folder, self.dataset)
            return tfds.builder_from_directory(folder)
        options = {"data_dir": folder} if folder else {}
        try:  # from its files, which needs no builder code (some of which imports TensorFlow)
            return read_only_builder.builder_from_files(self.dataset, **options)
        except tfds.core.DatasetNotFoundError:
            pass
        try:
            return tfds.builder(self.dataset, **options)
        except ImportError:
            return None
        except tfds.core.DatasetNotFoundError as error:
            name = self.dataset.split(":")[0].split("/")[0]
            known = tfds.list_builders(with_community_datasets=False)
            close = difflib.get_close_matches(name, known, n=1)
            suggestion = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"tfds: no data set {self.dataset!r}, neither among TFDS's own nor prepared in "
                f"{folder or '~/tensorflow_datasets'}.{suggestion}"
            ) from error

    def _how_to_prepare(self, builder: Any) -> str:
        folder = self.path or os.path.join("~", "tensorflow_datasets")
        data_dir = f" --data_dir={self.path}" if self.path else ""
        python_dir = f", data_dir={self.path!r}" if self.path else ""
        manual = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
        first = ""
        if manual:
            first = (
                f"\nIts files must be downloaded by hand into {folder}/downloads/manual:\n  "
                + (" ".join(manual.split()))
            )
        return (
            f"tfds: {self.dataset} is not prepared in {folder}. Run once\n"
            f"  pip install tensorflow\n"
            f"  tfds build --file_format=array_record{data_dir} {self.dataset}\n"
            "or, the same from Python,\n"
            f'  python -c "import tensorflow_datasets as tfds; tfds.builder({self.dataset!r}'
            f"{python_dir}, file_format='array_record').download_and_prepare()\"{first}"
        )

    def _check_features(self, builder: Any) -> None:
        """Checks that the data set has what the source reads.

        Raises:
            ValueError: naming what is missing.
        """
        import tensorflow_datasets as tfds

        image = self._feature(builder, "image")
        if not isinstance(image, tfds.features.Image) or len(image.shape) != 3:
            raise ValueError(f"tfds: feature {self.image_key!r} of {self.dataset} is {image}, "
                             "expected one Image.")  # fmt: skip

    def _feature(self, builder: Any, kind: str) -> Any:
        features, key = builder.info.features, getattr(self, f"{kind}_key")
        if key not in features:
            raise ValueError(
                f"tfds: {self.dataset} has no feature {key!r}; there are {list(features)}. "
                f"Set {kind}_key (data.options.{kind}_key)."
            )
        return features[key]


@dataclasses.dataclass(frozen=True)
class Tfds(PreparedSplit):
    """Images and labels of one split. `channels` None is what the data set declares, 3 where it
    declares none. `class_names` replaces the data set's own, which for ImageNet are ids.
    """

    _: dataclasses.KW_ONLY
    channels: int | None = None
    label_key: str = "label"
    class_names: Sequence[str] = ()

    @functools.cached_property
    def info(self) -> SourceInfo:
        features = self._builder.info.features
        label = features[self.label_key]
        num_classes = getattr(label, "num_classes", None)
        names = tuple(self.class_names) or tuple(getattr(label, "names", None) or ())
        if num_classes and names and len(names) != num_classes:
            raise ValueError(
                f"tfds: {self.dataset} has {num_classes} classes, got {len(names)} class_names."
            )
        height, width, _ = features[self.image_key].shape
        known = height is not None and width is not None
        return SourceInfo(
            f"tfds/{self.dataset}[{self.split}]",
            names,
            num_classes or len(names) or None,
            (height, width, self._channels) if known else None,
        )

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        data, fields = self.encoded(index)
        return {"image": self.decoded(data, index, self._channels), **fields}

    def encoded(self, index: int) -> tuple[bytes, dict[str, np.ndarray]]:
        """The image file's bytes, and its label.

        Raises:
            BadExample: if the record cannot be read.
        """
        data, fields = self.example(index)
        try:
            label = fields[self.label_key].int64_list.value[0]
        except IndexError as error:
            raise BadExample("damaged record: it has no label", self.describe(index)) from error
        return data, {"label": np.asarray(label, np.int32)}

    @property
    def _channels(self) -> int:
        if self.channels is not None:
            return self.channels
        declared = self._builder.info.features[self.image_key].shape[-1]
        return declared if declared in (1, 3) else 3

    def _check_features(self, builder: Any) -> None:
        super()._check_features(builder)
        label = self._feature(builder, "label")
        if label.shape != () or not np.issubdtype(label.np_dtype, np.integer):
            raise ValueError(f"tfds: feature {self.label_key!r} of {self.dataset} is {label}, "
                             "expected one ClassLabel or integer.")  # fmt: skip


class _Records(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes: ...


class TfRecords:
    """Random access to the records of tfrecord files, given as (path, skip, take).

    Format: length (uint64, little-endian), its checksum (4 bytes), data, its checksum (4 bytes),
    https://www.tensorflow.org/tutorials/load_data/tfrecord. Checksums are not verified: what a
    record holds is checked by whoever parses it. A file is scanned when first read.
    """

    def __init__(self, parts: tuple[tuple[str, int, int], ...]) -> None:
        self._parts = parts
        self._ends = np.cumsum([take for _, _, take in parts], dtype=np.int64)
        self._starts: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, index, side="right"))
        path, skip, take = self._parts[part]
        if path not in self._starts:
            self._starts[path] = record_starts(path)
        starts = self._starts[path]
        position = skip + index - int(self._ends[part]) + take
        if position + 1 >= len(starts):
            raise ValueError(f"{path} is truncated: {len(starts) - 1} records, wanted {position}")
        with open(path, "rb", buffering=0) as file:
            file.seek(starts[position] + 12)
            return file.read(int(starts[position + 1] - starts[position]) - 16)


def record_starts(path: str) -> np.ndarray:
    """Where each complete record of a tfrecord file begins, and where the last one ends."""
    starts = [0]
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        while starts[-1] + 16 <= size:
            file.seek(starts[-1])
            end = starts[-1] + 16 + int.from_bytes(file.read(8), "little")
            if end > size:
                break
            starts.append(end)
    return np.array(starts, np.int64)


def _check_name(folder: str, dataset: str) -> None:
    with open(os.path.join(folder, "dataset_info.json"), encoding="utf-8") as file:
        found = json.load(file).get("name")
    if found != dataset.split(":")[0].split("/")[0]:
        raise ValueError(f"tfds: {folder} holds {found!r}, not {dataset!r}.")
