"""A whole config to an experiment; the tasks by name."""

from typing import Any

from ml_collections import ConfigDict

from cvjax.build.content import content_network_of
from cvjax.build.data import AbsentSource, normalisation_of, preview_of, source, view_of
from cvjax.build.evaluations import asked, evaluator_of, with_views
from cvjax.build.features import cached_features, feature_picture
from cvjax.build.lookup import checked, named
from cvjax.build.models import fill_model, first_weights, model_of
from cvjax.config import (
    ConfigError,
    check_sections,
    fill_defaults,
    make_options,
    plain,
    stage_configs,
)
from cvjax.data.options import DataOptions, EvalOptions
from cvjax.data.source import Source
from cvjax.image.augment import eval_transform, train_transform
from cvjax.pretrained.reshape import CONVERTERS
from cvjax.tasks.autoencoding import Autoencoding
from cvjax.tasks.autoregressive import Autoregression
from cvjax.tasks.classification import Classification
from cvjax.tasks.detection import Detection
from cvjax.tasks.gan import GAN
from cvjax.tasks.image_translation import CycleGAN, Pix2Pix
from cvjax.tasks.localization import Localization
from cvjax.tasks.multibox_detection import MultiBoxDetection
from cvjax.tasks.super_resolution import SuperResolution
from cvjax.tasks.two_stage_detection import TwoStageDetection
from cvjax.tasks.vae import VAETask
from cvjax.tasks.yolo import Yolo
from cvjax.tasks.yolo_v1 import YoloV1
from cvjax.train.experiment import EmaOptions, Evaluation, Experiment, TrainOptions
from cvjax.train.optim import OptimOptions

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
    "super_resolution": SuperResolution,
    "two_stage_detection": TwoStageDetection,
    "vae": VAETask,
    "yolo": Yolo,
    "yolo_v1": YoloV1,
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
    fill_defaults(config.task, named(TASKS, config.task, "task"), skip=("model", "content_network"))
    fill_model(config.model)
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
    over = None
    if data.features is not None:
        over = cached_features(record["data"], data, sources, experiment)

    def split(name: str) -> Source:
        key = repr((sorted({**record["data"], "features": None}.items()), name))
        if key not in sources:
            sources[key] = source(data, name, stand_in=stand_in_data)
        if over is None or isinstance(sources[key], AbsentSource):
            return sources[key]
        return over(sources[key])

    train_source = split(data.train_split)
    task_class = named(TASKS, config.task, "task")
    evaluations = {
        name: Evaluation(
            split(entry.split),
            entry.every,
            **asked(entry, data, task_class, name, split(entry.split).info, experiment),
        )
        for name, entry in evals.items()
    }
    model = model_of(plain(config.model), train_source.info)
    fields = {name: value for name, value in plain(config.task).items() if name != "name"}
    parts = {"model": model, **content_network_of(task_class, fields)}
    task = make_options(task_class, fields, "task", **parts)
    if optim.accumulate > 1 and getattr(task, "reduction", "mean") == "sum":
        raise ConfigError(
            f"optim.accumulate={optim.accumulate} averages over micro-batches, which is not the "
            "task.reduction='sum' over the batch. Use task.reduction='mean' or optim.accumulate=1."
        )
    for part in (train_source, *(evaluation.source for evaluation in evaluations.values())):
        checked(lambda part=part: task.check(part.info))

    # Of data.features these are the frozen network's; the model sees what that one makes.
    normalisation = {} if over else normalisation_of(data, train_source)
    augmentation = checked(lambda: train_transform(data.augment, **normalisation))
    evaluations = {
        name: with_views(evaluation, evals[name], task, data, augmentation, f"evals.{name}")
        for name, evaluation in evaluations.items()
    }
    return Experiment(
        config=record,
        seed=record["seed"],
        task=task,
        train_source=train_source,
        batch_size=data.batch_size,
        train_transform=augmentation,
        eval_transform=checked(lambda: eval_transform(**normalisation)),
        preview_transform=feature_picture if over else preview_of(data),
        optim=optim,
        train=train,
        ema=ema,
        evals=evaluations,
        evaluator=evaluator_of(task_class, train_source.info),
        train_view=None
        if over
        else view_of(data, train_source, data.train_view, "data.train_view"),
        eval_view=None if over else view_of(data, train_source, data.eval_view, "data.eval_view"),
        workers=data.workers,
        threads=data.threads,
        prefetch=data.prefetch,
        on_bad_example=data.on_bad_example,
        converters=CONVERTERS,
        other_weights=lambda origin: first_weights(origin, plain(config.model)),
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
