"""The section `data` to sources, views and what follows augmentation; the sources by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cvjax.build.lookup import checked
from cvjax.config import (
    ConfigError,
    make_options,
    nearest,
)
from cvjax.data.options import DataOptions, WhitenOptions
from cvjax.data.pipeline import Reading, train_batch
from cvjax.data.source import Source, SourceInfo
from cvjax.data.sources.arrays import Arrays
from cvjax.data.sources.coco import Coco
from cvjax.data.sources.digits import Digits
from cvjax.data.sources.folder import Folder
from cvjax.data.sources.idx import Idx
from cvjax.data.sources.loaded import Loaded
from cvjax.data.sources.mixture import Mixture
from cvjax.data.sources.scenes import Scenes
from cvjax.data.sources.stamps import Stamps
from cvjax.data.sources.tfds import Tfds
from cvjax.data.sources.tfds_boxes import TfdsBoxes
from cvjax.data.sources.voc import Voc
from cvjax.data.views import View, make_view
from cvjax.image.augment import train_transform
from cvjax.image.normalize import denormalize
from cvjax.image.upsample import upsample
from cvjax.image.whiten import Whitening, fit_whitening

SOURCES = {
    "arrays": Arrays,
    "coco": Coco,
    "digits": Digits,
    "folder": Folder,
    "idx": Idx,
    "mixture": Mixture,
    "scenes": Scenes,
    "stamps": Stamps,
    "tfds": Tfds,
    "tfds_boxes": TfdsBoxes,
    "voc": Voc,
}
_PREPARED = ("tfds", "tfds_boxes")  # a data set's name follows


def source(data: DataOptions, split: str, *, stand_in: bool = False) -> Source:
    """The source that `data.name` means, for one split."""
    kind, _, dataset = data.name.partition("/")
    if kind not in SOURCES or (kind in _PREPARED) != bool(dataset):
        known = [f"{n}/<data set>" if n in _PREPARED else n for n in SOURCES]
        raise ConfigError(f"data.name={data.name!r}: no such source.{nearest(data.name, known)}")
    cls = SOURCES[kind]
    takes = inspect.signature(cls).parameters
    arguments: dict[str, Any] = dict(data.options)
    if dataset:
        arguments["dataset"] = dataset
    paths = [path for path in ([data.path] if isinstance(data.path, str) else data.path) if path]
    if paths:
        if "path" not in takes:
            raise ConfigError(f"data.path={data.path!r}: the source {kind!r} reads no files.")
        arguments["path"] = paths[0] if len(paths) == 1 else tuple(paths)
    for name in ("image_size", "channels"):
        if name in takes and getattr(data, name) is not None:
            arguments[name] = getattr(data, name)
    unknown = [name for name in arguments if name not in takes]
    if unknown:
        raise ConfigError(
            "\n".join(
                f"data.options.{name}: {kind!r} has no such option.{nearest(name, takes)}"
                for name in unknown
            )
        )
    required = [
        name
        for name, parameter in takes.items()
        if parameter.default is parameter.empty and name not in ("split", *arguments)
    ]
    if required:
        fields = ", ".join("data.path" if n == "path" else f"data.options.{n}" for n in required)
        raise ConfigError(f"data.name={data.name!r} needs {fields}.")
    try:
        found = cls(split, **arguments)
        if data.in_memory and not hasattr(found, "batch"):
            found = Loaded(found, image_size=data.image_size, channels=data.channels)
        return found
    except (FileNotFoundError, ImportError) as error:
        if stand_in:
            return AbsentSource(data, split, str(error))
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error


class AbsentSource:
    """Stands where data is missing, so that a dry run can still say what it would do."""

    def __init__(self, data: DataOptions, split: str, reason: str) -> None:
        self.reason = reason
        size, channels = data.image_size or 224, data.channels or 3
        self.info = SourceInfo(f"{data.name}[{split}]", (), None, (size, size, channels))

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise FileNotFoundError(self.reason)

    def describe(self, index: int) -> str:
        return self.info.name


def view_of(
    data: DataOptions, source: Source, view: Mapping[str, Any] | None, field: str
) -> View | None:
    """None where the source's images have their size; a plain resize where nothing else is said."""
    if view is None:
        if data.image_size is None or hasattr(source, "batch"):
            return None
        view = {"name": "resize"}
    options = dict(view)
    name = options.pop("name", "")
    if data.image_size is None:
        raise ConfigError(f"{field} needs data.image_size, the size that it brings images to.")
    channels = data.channels or 3
    try:
        return make_view(name, data.image_size, channels, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{field}: {error}") from error


def normalisation_of(data: DataOptions, source: Source) -> dict[str, Any]:
    """What follows augmentation, for `train_transform` and `eval_transform`."""
    found: dict[str, Any] = {"mean": data.mean, "std": data.std}
    if data.upsample is not None:
        options = dict(data.upsample)
        takes = [*inspect.signature(upsample).parameters][1:]
        unknown = [name for name in options if name not in takes]
        if unknown or "size" not in options:
            wrong = unknown[0] if unknown else "size"
            raise ConfigError(f"data.upsample: {wrong!r} of {takes}, of which size is needed.")
        found["upsample_to"] = options
    if data.whiten is not None:
        options = make_options(WhitenOptions, data.whiten, "data.whiten")
        if not isinstance(source, AbsentSource):
            found["whitening"] = _fitted(options, data, source)
    return found


def _fitted(options: WhitenOptions, data: DataOptions, source: Source) -> Whitening:
    count = min(options.examples, len(source))
    view = view_of(data, source, data.eval_view, "data.eval_view")
    reading = Reading(batch_size=count, rows=np.arange(count), view=view)
    images = train_batch(source, reading, 0, seed=0)["image"] / np.float32(255)
    return checked(lambda: fit_whitening(images, options.kind, epsilon=options.epsilon))


def preview_of(data: DataOptions) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
    """What training sees, in [0, 1] again: what is erased shows as the mean colour that it is."""
    mean, std = 0.0 if data.mean is None else data.mean, 1.0 if data.std is None else data.std
    train = train_transform(data.augment, mean=data.mean, std=data.std)

    def preview(key: Any, batch: dict[str, Any]) -> dict[str, Any]:
        batch = train(key, batch)
        return {**batch, "image": denormalize(batch["image"], mean=mean, std=std)}

    return preview
