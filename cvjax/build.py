"""The only place where a string in a config becomes an object."""

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
from cvjax.data.options import DataOptions, EvalOptions, FeatureOptions, WhitenOptions
from cvjax.data.pipeline import Reading, train_batch
from cvjax.data.source import Source, SourceInfo
from cvjax.data.sources.arrays import Arrays
from cvjax.data.sources.coco import Coco
from cvjax.data.sources.digits import Digits
from cvjax.data.sources.features import Features
from cvjax.data.sources.folder import Folder
from cvjax.data.sources.idx import Idx
from cvjax.data.sources.loaded import Loaded
from cvjax.data.sources.mixture import Mixture
from cvjax.data.sources.scenes import Scenes
from cvjax.data.sources.stamps import Stamps
from cvjax.data.sources.tfds import Tfds
from cvjax.data.sources.voc import Voc
from cvjax.data.views import View, make_view
from cvjax.evaluators.batches import Batches
from cvjax.evaluators.detection_ap import DetectionAP
from cvjax.evaluators.generated import Generated, Judge
from cvjax.evaluators.importance_bound import ImportanceBound
from cvjax.evaluators.knn import NearestNeighbours
from cvjax.evaluators.latent_arithmetic import LatentArithmetic
from cvjax.evaluators.linear_probe import LinearProbe
from cvjax.evaluators.mode_coverage import ModeCoverage
from cvjax.evaluators.multi_view import MultiView
from cvjax.evaluators.samples import Samples
from cvjax.image.augment import MIXING, eval_transform, train_transform
from cvjax.image.normalize import denormalize, normalize
from cvjax.image.upsample import upsample
from cvjax.image.whiten import Whitening, fit_whitening
from cvjax.pretrained.fetch import WEIGHTS, cache_folder
from cvjax.pretrained.origin import identity_of, variables_at
from cvjax.pretrained.reshape import CONVERTERS
from cvjax.tasks.autoencoding import Autoencoding
from cvjax.tasks.autoregressive import Autoregression
from cvjax.tasks.classification import Classification
from cvjax.tasks.detection import Detection
from cvjax.tasks.gan import GAN
from cvjax.tasks.image_translation import CycleGAN, Pix2Pix
from cvjax.tasks.localization import Localization
from cvjax.tasks.multibox_detection import MultiBoxDetection
from cvjax.tasks.two_stage_detection import TwoStageDetection
from cvjax.tasks.vae import VAETask
from cvjax.tasks.yolo import Yolo
from cvjax.tasks.yolo_v1 import YoloV1
from cvjax.train.checkpoint import Checkpoints
from cvjax.train.experiment import EmaOptions, Evaluation, Experiment, TrainOptions
from cvjax.train.feature_extraction import FeatureExtractor
from cvjax.train.optim import OptimOptions
from cvjax.train.setup import prepare

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
    "voc": Voc,
}
TASKS = {
    "autoencoder": Autoencoding,
    "autoregressive": Autoregression,
    "classification": Classification,
    "cycle_gan": CycleGAN,
    "detection": Detection,
    "gan": GAN,
    "localization": Localization,
    "multibox_detection": MultiBoxDetection,
    "pix2pix": Pix2Pix,
    "two_stage_detection": TwoStageDetection,
    "vae": VAETask,
    "yolo": Yolo,
    "yolo_v1": YoloV1,
}
# By the class attribute `evaluator` of a task; one without it is judged by its metrics alone.
EVALUATORS = {"batches": Batches, "detection_ap": DetectionAP}
# By the field `evaluator` of an entry of `evals`, for any task whose model has features.
PROBES = {"knn": NearestNeighbours, "linear_probe": LinearProbe}
# By the same field: what calls more of the task than `predict`.
OF_TASK = {
    "generated": Generated,
    "importance_bound": ImportanceBound,
    "latent_arithmetic": LatentArithmetic,
    "mode_coverage": ModeCoverage,
    "multi_view": MultiView,
    "samples": Samples,
}


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
            if not found and stage.train.init_rules and not stage.train.init_from:
                raise ConfigError(
                    "train.init_rules are set, but train.init_from is empty, and there is no stage "
                    "before."
                )
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
    over = _features(record["data"], data, sources) if data.features is not None else None

    def split(name: str) -> Source:
        key = repr((sorted({**record["data"], "features": None}.items()), name))
        if key not in sources:
            sources[key] = source(data, name, stand_in=stand_in_data)
        if over is None or isinstance(sources[key], AbsentSource):
            return sources[key]
        return over(sources[key])

    train_source = split(data.train_split)
    task_class = _named(TASKS, config.task, "task")
    evaluations = {
        name: Evaluation(
            split(entry.split),
            entry.every,
            **_asked(entry, data, task_class, name, split(entry.split).info),
        )
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

    # Of data.features these are the frozen network's; the model sees what that one makes.
    normalisation = {} if over else _normalisation(data, train_source)
    augmentation = _checked(lambda: train_transform(data.augment, **normalisation))
    evaluations = {
        name: _with_views(evaluation, evals[name], task, data, augmentation, f"evals.{name}")
        for name, evaluation in evaluations.items()
    }
    return Experiment(
        config=record,
        seed=record["seed"],
        task=task,
        train_source=train_source,
        batch_size=data.batch_size,
        train_transform=augmentation,
        eval_transform=_checked(lambda: eval_transform(**normalisation)),
        preview_transform=_feature_picture if over else _preview(data),
        optim=optim,
        train=train,
        ema=ema,
        evals=evaluations,
        evaluator=_evaluator(task_class, train_source.info),
        train_view=None if over else _view(data, train_source, data.train_view, "data.train_view"),
        eval_view=None if over else _view(data, train_source, data.eval_view, "data.eval_view"),
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


def _normalisation(data: DataOptions, source: Source) -> dict[str, Any]:
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
    view = _view(data, source, data.eval_view, "data.eval_view")
    reading = Reading(batch_size=count, rows=np.arange(count), view=view)
    images = train_batch(source, reading, 0, seed=0)["image"] / np.float32(255)
    return _checked(lambda: fit_whitening(images, options.kind, epsilon=options.epsilon))


def _with_views(
    evaluation: Evaluation,
    entry: EvalOptions,
    task: Any,
    data: DataOptions,
    augmentation: Callable[..., Any],
    where: str,
) -> Evaluation:
    """The evaluation, with what `multi_view` needs of training."""
    if entry.evaluator != "multi_view":
        return evaluation
    mixing = [name for name in data.augment if name in MIXING]
    augment = None if mixing or not data.augment else augmentation
    given = {"task": task, "transform": _unchanged, "augment": augment}
    try:
        make_options(MultiView, entry.options, f"{where}.options", **given)  # checked now
    except ConfigError as error:
        also = f"\nViews cannot be the mixtures {mixing}." if mixing else ""
        raise ConfigError(f"{where}.options: {error}{also}") from error
    of_task = partial(evaluation.of_task, augment=augment)
    return dataclasses.replace(evaluation, of_task=of_task)


def _feature_picture(key: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Features [B, 1, 1, D], row by row in a grey square, the greatest of the batch white."""
    del key
    rows = batch["image"].reshape(len(batch["image"]), -1)
    side = math.isqrt(rows.shape[1] - 1) + 1
    rows = jnp.pad(rows, ((0, 0), (0, side**2 - rows.shape[1])))
    shown = rows / jnp.maximum(rows.max(), 1e-6)
    return {**batch, "image": shown.reshape(-1, side, side, 1)}


def _features(
    record: Mapping[str, Any], data: DataOptions, sources: dict[str, Source]
) -> Callable[[Source], Features]:
    """What puts the features of `data.features` in the place of a source's images."""
    options = make_options(FeatureOptions, data.features, "data.features")
    images = {**record, "features": None}
    network = {
        "seed": options.seed,
        "model": dict(options.model),
        "task": {"name": "classification"},
        "data": images,
        "optim": {"lr": 0.0},
        "train": {
            "steps": 1,
            "monitor": "",
            "init_from": options.init_from,
            "init_rules": options.init_rules,
        },
    }
    try:
        whole = experiment(ConfigDict(network), stand_in_data=True, sources=sources)
    except ConfigError as error:
        raise ConfigError(f"data.features: {error}") from error
    extract = FeatureExtractor(whole, options.feature, average=options.average)
    seen = ("image_size", "channels", "mean", "std", "eval_view", "upsample")
    made_by = {
        "model": whole.config["model"],
        "init_from": options.init_from,
        "init_rules": options.init_rules,
        "weights": identity_of(options.init_from) if options.init_from else "random",
        "feature": options.feature,
        "average": options.average,
        "seed": options.seed,
        **{name: record[name] for name in seen},
        "jax": jax.__version__,
    }
    cache = Path(options.cache).expanduser() if options.cache else cache_folder() / "features"
    return lambda found: Features(
        found, extract=extract, width=lambda: extract.width, made_by=made_by, cache=cache
    )


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
    entry: EvalOptions, data: DataOptions, task_class: type, name: str, info: SourceInfo
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
        options = plain(entry.options)
        if "judge" in inspect.signature(cls).parameters:
            judged = {"judge": _judge(options.pop("judge", ""), f"{where}.options.judge", info)}
            make_options(cls, options, f"{where}.options", **given, **judged)
            return {"of_task": partial(cls, **judged, **options)}
        if cls is not MultiView:  # that one needs the task, too
            make_options(cls, options, f"{where}.options", **given)  # checked now
        return {"of_task": partial(cls, **options)}
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


def _judge(origin: str, field: str, info: SourceInfo) -> Judge:
    """The finished network that `origin` means, for pictures as `info` describes them: a workdir of
    a classifier (its best checkpoint), or "fetch:NAME" of `cvjax.pretrained.fetch`."""
    shape = info.image_shape
    if not isinstance(origin, str) or not origin:
        names = ", ".join(f"'fetch:{name}'" for name in WEIGHTS)
        raise ConfigError(f"{field}: name a classifier's workdir, or one of {names}.")
    if origin.startswith("fetch:"):
        known = WEIGHTS.get(origin.removeprefix("fetch:"))
        if known is None:
            raise ConfigError(
                f"{field}={origin!r}: nothing is called that.{nearest(origin[6:], WEIGHTS)}"
            )
        model = cvjax.models.create(known.model, num_classes=known.num_classes)
        variables = variables_at(origin, known.model)

        def look(variables: Any, image: Any) -> dict[str, Any]:
            image = jnp.broadcast_to(image, (*image.shape[:3], 3))
            image = jax.image.resize(image, (len(image), known.size, known.size, 3), "bilinear")
            image = normalize(image, mean=known.mean, std=known.std)
            return {"features": model.apply(variables, image, train=False)[1]["pooled"]}

        return Judge(origin, variables, look, names_classes=False)
    record = Path(origin).expanduser() / "config.json"
    if not record.is_file():
        raise ConfigError(
            f"{field}={origin!r}: no workdir of a run is there (it has no config.json). Train one: "
            "python launch.py --config configs/classification/... --workdir " + origin
        )
    classifier = experiment(ConfigDict(json.loads(record.read_text())))
    task, transform = classifier.task, classifier.eval_transform
    if not isinstance(task, Classification):
        raise ConfigError(f"{field}={origin!r}: it is no classifier's workdir.")
    sees = classifier.train_source.info.image_shape
    if sees != shape:
        raise ConfigError(
            f"{field}={origin!r}: it looks at images of {sees} (h, w, c), and {info.name} has "
            f"{shape}. Train one at that size."
        )
    shapes = prepare(classifier).state_shapes
    with Checkpoints(record.parent / "checkpoints") as checkpoints:
        state = checkpoints.restore(checkpoints.find("best"), shapes).state

    def look(variables: Any, image: Any) -> dict[str, Any]:
        batch = transform({"image": image})
        return {
            "features": task.features(variables, batch)["pooled"],
            "logits": task.predict(variables, batch)["logits"],
        }

    variables = jax.device_get(state.evaluation_variables)
    return Judge(origin, variables, look, task.model.num_classes == info.num_classes)


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
