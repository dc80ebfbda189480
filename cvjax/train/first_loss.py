"""The loss before any update beside that of guessing: the cheapest check of a new network."""

import math
from collections.abc import Mapping
from typing import Any

from cvjax.train.experiment import Experiment
from cvjax.train.progress import log
from cvjax.vis.diagnosis import Finding, guessing_figures, initial_loss

# What training adds to the loss of the data; guessing says nothing about it.
_ADDED = ("penalty", "aux_loss")


def log_first_loss(experiment: Experiment, figures: Mapping[str, Any]) -> Finding | None:
    """Logs the verdict on the first step's `figures`, and returns it.

    None, and at most a log line without a verdict, where there is nothing to compare.
    """
    if "loss" not in figures:  # a task may call what it minimises otherwise
        return None
    loss = per_example_loss(experiment, figures)
    chance = guessing(experiment.task)
    if not math.isfinite(loss):
        log.warning("initial loss: %g before any update; look at the data and the weights", loss)
        return None
    if "loss" not in chance:
        log.info("initial loss %.4g; there is no figure of guessing to compare it with", loss)
        return None
    train = experiment.train
    loaded = bool(train.init_from or train.resume or experiment.stage_before)
    finding = initial_loss(loss, chance["loss"], loaded_weights=loaded)
    log.info("initial loss: %s", " ".join(filter(None, (finding.summary, finding.advice))))
    return finding


def per_example_loss(experiment: Experiment, figures: Mapping[str, Any]) -> float:
    """The loss of the data alone, per example: without penalties, whatever the reduction."""
    loss = float(figures["loss"]) - sum(float(figures.get(name, 0.0)) for name in _ADDED)
    summed = getattr(experiment.task, "reduction", "mean") == "sum"
    return loss / experiment.batch_size if summed else loss


def guessing(task: Any) -> dict[str, float]:
    """`guessing_figures` of a task that has a loss by name over classes; {} for others.

    Without the loss where classes have weights and the batch is summed, because what an example
    counts then depends on its class.
    """
    classes = getattr(getattr(task, "model", None), "num_classes", None)
    if classes is None or not hasattr(task, "loss_name"):
        return {}
    figures = guessing_figures(task.loss_name, classes, margin=getattr(task, "margin", 1.0))
    if getattr(task, "class_weights", ()) and getattr(task, "reduction", "mean") == "sum":
        figures.pop("loss", None)
    return figures
