"""The entries of `evals` to evaluators; the evaluators by name."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from cvjax.build.judge import judge_of
from cvjax.config import (
    ConfigError,
    make_options,
    nearest,
    plain,
)
from cvjax.data.options import DataOptions, EvalOptions
from cvjax.data.source import SourceInfo
from cvjax.evaluators.batches import Batches
from cvjax.evaluators.detection_ap import DetectionAP
from cvjax.evaluators.generated import Generated
from cvjax.evaluators.importance_bound import ImportanceBound
from cvjax.evaluators.knn import NearestNeighbours
from cvjax.evaluators.latent_arithmetic import LatentArithmetic
from cvjax.evaluators.linear_probe import LinearProbe
from cvjax.evaluators.mode_coverage import ModeCoverage
from cvjax.evaluators.multi_view import MultiView
from cvjax.evaluators.samples import Samples
from cvjax.image.augment import MIXING
from cvjax.train.experiment import Evaluation, Experiment

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


def evaluator_of(task_class: type, info: SourceInfo) -> Callable[..., Any]:
    name = getattr(task_class, "evaluator", "batches")
    if name == "batches":
        return Batches
    return partial(EVALUATORS[name], class_names=_class_names(info))


def _class_names(info: SourceInfo) -> tuple[str, ...]:
    return info.class_names or tuple(map(str, range(info.num_classes or 0)))


def asked(
    entry: EvalOptions,
    data: DataOptions,
    task_class: type,
    name: str,
    info: SourceInfo,
    experiment: Callable[[ConfigDict], Experiment],
) -> dict[str, Callable[..., Any]]:
    """What an entry of `evals` asks for instead of the task's own evaluator: {} for nothing,
    {"probe": it} without features yet, {"of_task": it} without the task yet; or {"options": them}
    for the task's own."""
    where = f"evals.{name}"
    known = {**PROBES, **OF_TASK}
    if not entry.evaluator:
        own = getattr(task_class, "evaluator", "batches")
        if entry.options and own != "batches":
            options, names = plain(entry.options), _class_names(info)
            given = {"predict": _no_features, "metrics": None, "class_names": names}
            make_options(EVALUATORS[own], options, f"{where}.options", **given)  # checked now
            return {"options": options}
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
            judged = {
                "judge": judge_of(
                    options.pop("judge", ""), f"{where}.options.judge", info, experiment
                )
            }
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


def with_views(
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


def _unchanged(batch: Any) -> Any:
    """Stands for the preprocessing where only the options are looked at."""
    return batch


def _no_features(variables: Any, batch: Any) -> dict[str, Any]:
    """Stands for the model's features where only the options are looked at."""
    del variables, batch
    return {}
