"""The only place where a string in a config becomes an object."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict, config_dict

import cvjax.models
from cvjax.config import (
    ConfigError,
    check_sections,
    fill_defaults,
    make_options,
    nearest,
    plain,
    stage_configs,
)
from cvjax.data.options import DataOptions, EvalOptions
from cvjax.data.source import Source, SourceInfo
from cvjax.data.sources.arrays import Arrays
from cvjax.data.sources.digits import Digits
from cvjax.data.sources.folder import Folder
from cvjax.data.sources.idx import Idx
from cvjax.data.sources.loaded import Loaded
from cvjax.data.sources.scenes import Scenes
from cvjax.data.sources.stamps import Stamps
from cvjax.data.sources.tfds import Tfds
from cvjax.data.views import View, make_view
from cvjax.evaluators.batches import Batches
from cvjax.evaluators.detection_ap import DetectionAP
from cvjax.evaluators.knn import NearestNeighbours
from cvjax.evaluators.linear_probe import LinearProbe
from cvjax.evaluators.samples import Samples
from cvjax.image.augment import eval_transform, train_transform
from cvjax.image.normalize import denormalize
from cvjax.pretrained.origin import variables_at
from cvjax.pretrained.reshape import CONVERTERS
from cvjax.tasks.classification import Classification
from cvjax.tasks.detection import Detection
from cvjax.tasks.multibox_detection import MultiBoxDetection
from cvjax.tasks.two_stage_detection import TwoStageDetection
from cvjax.train.experiment import EmaOptions, Evaluation, Experiment, TrainOptions
from cvjax.train.optim import OptimOptions

SOURCES = {
    "arrays": Arrays,
    "digits": Digits,
    "folder": Folder,
    "idx": Idx,
    "scenes": Scenes,
    "stamps": Stamps,
    "tfds": Tfds,
}
TASKS = {
    "classification": Classification,
    "detection": Detection,
    "multibox_detection": MultiBoxDetection,
    "two_stage_detection": TwoStageDetection,
}
# By the class attribute `evaluator` of a task; one without it is judged by its metrics alone.
EVALUATORS = {"batches": Batches, "detection_ap": DetectionAP}
# By the field `evaluator` of an entry of `evals`, for any task whose model has features.
PROBES = {"knn": NearestNeighbours, "linear_probe": LinearProbe}
# By the same field: what calls more of the task than `predict`.
OF_TASK = {"samples": Samples}


def complete(config: ConfigDict) -> ConfigDict:
    """`config` with every default filled in, as a new ConfigDict.

    Raises:
        ConfigError: if a section, the model or the task is unknown.
    """
    config = ConfigDict(config.to_dict() if isinstance(config, ConfigDict) else dict(config))
    check_sections(config)
    config.seed = config.get("seed", 0)
    for section in ("ema", "evals", "stages"):
        if section not in config:
            config[section] = ConfigDict()
    fill_defaults(config.data, DataOptions)
    fill_defaults(config.optim, OptimOptions)
    fill_defaults(config.ema, EmaOptions)
    fill_defaults(config.train, TrainOptions)
    for entry in config.evals.values():
        fill_defaults(entry, EvalOptions)
    fill_defaults(config.task, _named(TASKS, config.task, "task"), skip=("model",))
    _fill_model(config.model)
    return config


def experiments(config: ConfigDict, *, stand_in_data: bool = False) -> dict[str, Experiment]:
    """The experiment of each stage by its name, in order; {"": it} for a config without stages.

    Raises:
        ConfigError, FileNotFoundError: as `experiment`; the message names the stage.
    """
    found: dict[str, Experiment] = {}
    sources: dict[str, Source] = {}  # stages that read the same data share it in memory
    for name, stage in stage_configs(complete(config)).items():
        try:
            found[name] = experiment(stage, stand_in_data=stand_in_data, sources=sources)
        except ConfigError as error:
            where = f"stage {name!r}: " if name else ""
            raise ConfigError(f"{where}{error}") from error
    return found


def experiment(
    config: ConfigDict,
    *,
    stand_in_data: bool = False,
    sources: dict[str, Source] | None = None,
) -> Experiment:
    """The parts of the run that a config describes.

    `stand_in_data=True` (dry run) puts an `AbsentSource` where the data is missing. `sources` are
    those that other stages have made already, and gets this one's.

    Raises:
        ConfigError: naming every field that is wrong.
        FileNotFoundError: if the data is missing; the message says how to get it.
    """
    config = complete(config)
    if config.stages:
        raise ConfigError("stages: this config has some; each is a run, see build.experiments.")
    record = plain(config)
    del record["stages"]
    sources = {} if sources is None else sources
    data, optim, ema, train, *eval_options = _options(config)
    evals = dict(zip(config.evals, eval_options))

    def split(name: str) -> Source:
        key = repr((sorted(record["data"].items()), name))
        if key not in sources:
            sources[key] = source(data, name, stand_in=stand_in_data)
        return sources[key]

    train_source = split(data.train_split)
    task_class = _named(TASKS, config.task, "task")
    evaluations = {
        name: Evaluation(split(entry.split), entry.every, **_asked(entry, data, task_class, name))
        for name, entry in evals.items()
    }
    model = _model(plain(config.model), train_source.info)
    fields = {name: value for name, value in plain(config.task).items() if name != "name"}
    task = make_options(task_class, fields, "task", model=model)
    if optim.accumulate > 1 and getattr(task, "reduction", "mean") == "sum":
        raise ConfigError(
            f"optim.accumulate={optim.accumulate} averages over micro-batches, which is not the "
            "task.reduction='sum' over the batch. Use task.reduction='mean' or optim.accumulate=1."
        )
    for part in (train_source, *(evaluation.source for evaluation in evaluations.values())):
        _checked(lambda part=part: task.check(part.info))

    normalisation = {"mean": data.mean, "std": data.std}
    return Experiment(
        config=record,
        seed=record["seed"],
        task=task,
        train_source=train_source,
        batch_size=data.batch_size,
        train_transform=_checked(lambda: train_transform(data.augment, **normalisation)),
        eval_transform=_checked(lambda: eval_transform(**normalisation)),
        preview_transform=_preview(data),
        optim=optim,
        train=train,
        ema=ema,
        evals=evaluations,
        evaluator=_evaluator(task_class, train_source.info),
        train_view=_view(data, train_source, data.train_view, "data.train_view"),
        eval_view=_view(data, train_source, data.eval_view, "data.eval_view"),
        workers=data.workers,
        threads=data.threads,
        prefetch=data.prefetch,
        on_bad_example=data.on_bad_example,
        converters=CONVERTERS,
        other_weights=lambda origin: variables_at(origin, **_model_fields(plain(config.model))),
    )


def _options(config: ConfigDict) -> list[Any]:
    """The options of data, optim, ema, train and each of evals; every problem is in one error."""
    sections = [
        (DataOptions, config.data, "data"),
        (OptimOptions, config.optim, "optim"),
        (EmaOptions, config.ema, "ema"),
        (TrainOptions, config.train, "train"),
        *((EvalOptions, entry, f"evals.{name}") for name, entry in config.evals.items()),
    ]
    found, problems = [], []
    if not isinstance(config.seed, int):
        problems.append(f"seed={config.seed!r} is not of type int.")
    for options, values, name in sections:
        try:
            found.append(make_options(options, values, name))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def source(data: DataOptions, split: str, *, stand_in: bool = False) -> Source:
    """The source that `data.name` means, for one split."""
    kind, _, dataset = data.name.partition("/")
    if kind not in SOURCES or (kind == "tfds") != bool(dataset):
        known = [name if name != "tfds" else "tfds/<data set>" for name in SOURCES]
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


def _fill_model(section: ConfigDict) -> None:
    """The model's own defaults, so that `--config.model.dtype=bfloat16` and the like work."""
    if not isinstance(section.get("name"), str):
        raise ConfigError(f"model.name is missing. There are: {cvjax.models.list_models()}.")
    defaults = _checked(lambda: cvjax.models.default_fields(section.name))
    if section.get("num_classes") is None and cvjax.models.has_field(section.name, "num_classes"):
        section.num_classes = config_dict.placeholder(int)
    for name, value in defaults.items():
        if name == "dtype":
            value = jnp.dtype(value).name
        if name not in section and isinstance(value, (bool, int, float, str, tuple)):
            section[name] = value


def _model_fields(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section with `model_name` for `name`, and a type for the type's name."""
    fields = {"model_name" if key == "name" else key: value for key, value in section.items()}
    if isinstance(fields.get("dtype"), str):
        try:
            fields["dtype"] = jnp.dtype(fields["dtype"])
        except TypeError:
            raise ConfigError(
                f"model.dtype={fields['dtype']!r}: use 'float32', 'bfloat16' or 'float16'."
            ) from None
    return fields


def _model(section: Mapping[str, Any], info: SourceInfo) -> Any:
    fields = _model_fields(section)
    name = fields.pop("model_name")
    if not cvjax.models.has_field(name, "num_classes"):  # a generator, say
        return _checked(lambda: cvjax.models.create(name, **fields))
    if fields.get("num_classes") is None:  # as many as the data has
        fields["num_classes"] = info.num_classes
    if fields["num_classes"] is None:
        raise ConfigError("model.num_classes: the data does not say how many classes; set it.")
    return _checked(lambda: cvjax.models.create(name, **fields))


def _preview(data: DataOptions) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
    """What training sees, in [0, 1] again: what is erased shows as the mean colour that it is."""
    mean, std = 0.0 if data.mean is None else data.mean, 1.0 if data.std is None else data.std
    train = train_transform(data.augment, mean=data.mean, std=data.std)

    def preview(key: Any, batch: dict[str, Any]) -> dict[str, Any]:
        batch = train(key, batch)
        return {**batch, "image": denormalize(batch["image"], mean=mean, std=std)}

    return preview


def _view(
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


def _evaluator(task_class: type, info: SourceInfo) -> Callable[..., Any]:
    name = getattr(task_class, "evaluator", "batches")
    if name == "batches":
        return Batches
    names = info.class_names or tuple(map(str, range(info.num_classes or 0)))
    return partial(EVALUATORS[name], class_names=names)


def _asked(
    entry: EvalOptions, data: DataOptions, task_class: type, name: str
) -> dict[str, Callable[..., Any]]:
    """What an entry of `evals` asks for instead of the task's own evaluator: {} for nothing,
    {"probe": it} without features yet, {"of_task": it} without the task yet."""
    where = f"evals.{name}"
    known = {**PROBES, **OF_TASK}
    if not entry.evaluator:
        if entry.options:
            raise ConfigError(
                f"{where}.options={dict(entry.options)}: the task's own evaluator has none. "
                f"Set {where}.evaluator to one of {sorted(known)}."
            )
        return {}
    if entry.evaluator not in known:
        raise ConfigError(
            f"{where}.evaluator={entry.evaluator!r}: no such evaluator."
            f"{nearest(entry.evaluator, known)}"
        )
    if entry.evaluator in OF_TASK:
        cls, given = OF_TASK[entry.evaluator], {"task": task_class, "transform": _unchanged}
        make_options(cls, entry.options, f"{where}.options", **given)  # checked now
        return {"of_task": partial(cls, **plain(entry.options))}
    if not hasattr(task_class, "features"):
        raise ConfigError(f"{where}.evaluator={entry.evaluator!r}: this task has no features.")
    if entry.split == data.train_split:
        raise ConfigError(
            f"{where}.split={entry.split!r}: {entry.evaluator} learns from this split; evaluate "
            "another."
        )
    cls = PROBES[entry.evaluator]
    make_options(cls, entry.options, f"{where}.options", features=_no_features)  # checked now
    return {"probe": partial(cls, **plain(entry.options))}


def _unchanged(batch: Any) -> Any:
    """Stands for the preprocessing where only the options are looked at."""
    return batch


def _no_features(variables: Any, batch: Any) -> dict[str, Any]:
    """Stands for the model's features where only the options are looked at."""
    del variables, batch
    return {}


def _named(table: Mapping[str, Any], section: Mapping[str, Any], field: str) -> Any:
    name = section.get("name")
    if name not in table:
        raise ConfigError(f"{field}.name={name!r}: no such {field}.{nearest(str(name), table)}")
    return table[name]


def _checked(make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ConfigError(str(error)) from error
