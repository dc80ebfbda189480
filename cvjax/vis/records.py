"""Reading a run's `metrics.jsonl`: records, series, splits, smoothing, and which way is better.

A record is one flat JSON object: `step` and names such as `train/loss`, `test/accuracy`, `lr`,
`train/images_per_second`, `elapsed_seconds`. Names are read as `split/metric`; a name without a
slash belongs to no split.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TRAIN_SPLIT = "train"

# Words in a metric's name that say that a smaller figure is the better one.
_LOWER_IS_BETTER = ("loss", "error", "perplexity", "divergence", "distance", "bits_per_dim")
# Likewise, where they are a word of the name: "fid" is also in "confidence".
_LOWER_WORDS = {"fid", "nll", "l1", "l2", "mae", "mse", "rmse"}
# Figures that are watched and not optimised: no value of them is the best one.
_NEITHER_IS_BETTER = ("norm", "penalty", "num_examples", "bicubic_", "condition_")
_NEITHER_NAMES = {
    "class_entropy", "class_score", "confidence", "detections", "fake_score", "kernel_distance_std",
    "largest_class", "matched", "real_score", "roi_positives", "smallest_class",
}  # fmt: skip
# Shares of detections that are wrong; `share_correct` is the rest.
_SHARE_OF_ERRORS = re.compile(r"share_(?!correct)")
# COCO's averages, which are -1 over what a split does not hold, such as large objects.
_COCO_AVERAGE = re.compile(r"A[PR](\d+|_\w+)?")
# Fields that locate or time a record and so are not results.
_AXIS_FIELDS = ("step", "epoch", "time", "timestamp")


class Series(NamedTuple):
    """One named quantity over a run: strictly increasing steps and as many values."""

    steps: np.ndarray
    values: np.ndarray

    def finite(self) -> "Series":
        """The points whose value is neither NaN nor infinite."""
        keep = np.isfinite(self.values)
        return Series(self.steps[keep], self.values[keep])


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; [] where there is no such file.

    A line that is no JSON object is passed over: a run that is being written, or was cut off
    in the middle of a line, is still worth a look.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def as_number(value: Any) -> float | None:
    """`value` as a float, or None where it is no number.

    None and the strings "NaN", "Infinity", "-Infinity" stand for what strict JSON cannot hold.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return None


def series(records: Iterable[Mapping[str, Any]], name: str) -> Series:
    """Every value that `records` hold for `name`, by step; of two with one step, the later one."""
    points: dict[float, float] = {}
    for record in records:
        if name not in record or "step" not in record:
            continue
        step, value = as_number(record["step"]), as_number(record[name])
        if step is not None and math.isfinite(step) and value is not None:
            points[step] = value
    steps = sorted(points)
    return Series(np.asarray(steps, float), np.asarray([points[step] for step in steps], float))


def field_names(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of every numeric field but the step, in order of first appearance."""
    names: dict[str, None] = {}
    for record in records:
        for name, value in record.items():
            if name not in _AXIS_FIELDS and as_number(value) is not None:
                names.setdefault(str(name))
    return list(names)


def split_of(name: str) -> str:
    """The split of a flat name: "test" of "test/accuracy", "" of "lr"."""
    return name.split("/", 1)[0] if "/" in name else ""


def metric_of(name: str) -> str:
    """The metric of a flat name: "accuracy" of "test/accuracy", "lr" of "lr"."""
    return name.split("/", 1)[1] if "/" in name else name


def is_rate(name: str) -> bool:
    """Whether the field counts something per second."""
    return name.endswith("_per_second")


def is_timing(name: str) -> bool:
    """Whether the field is a duration or a rate, thus about the machine and not the model."""
    return name.endswith("_seconds") or is_rate(name)


def is_learning_rate(name: str) -> bool:
    """Whether the field is a learning rate: `lr`, `lr/<group>`, `train/lr`."""
    return "lr" in name.split("/") or "learning_rate" in name.split("/")


def is_higher_better(metric: str) -> bool:
    """Whether a larger figure of `metric` is the better one, judged by its name."""
    lowered = metric.lower()
    if _SHARE_OF_ERRORS.search(lowered) or _LOWER_WORDS & set(re.split("[/_]", lowered)):
        return False
    return not any(word in lowered for word in _LOWER_IS_BETTER)


def has_best(metric: str) -> bool:
    """Whether one value of `metric` can be better than another; not so for a gradient's norm."""
    lowered = metric.lower()
    if lowered in _NEITHER_NAMES:
        return False
    return not any(word in lowered for word in _NEITHER_IS_BETTER)


def result_names(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the fields that say how good the model is: `split/metric`, nothing about time."""
    return [
        name
        for name in field_names(records)
        if split_of(name) and not is_timing(name) and not is_learning_rate(name)
    ]


def is_measured(records: Iterable[Mapping[str, Any]], name: str) -> bool:
    """Whether a split holds what `name` is of: not so for an average of COCO's that stays -1."""
    if not _COCO_AVERAGE.fullmatch(metric_of(name)):
        return True
    return bool(np.any(series(records, name).values != -1))


def eval_splits(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The splits that were evaluated, in order of first appearance: all but the training one."""
    splits = dict.fromkeys(split_of(name) for name in result_names(records))
    return [split for split in splits if split != TRAIN_SPLIT]


def best_point(points: Series, *, higher_is_better: bool) -> tuple[float, float] | None:
    """(step, value) of the best finite point, the earliest of equals; None where there is none."""
    points = points.finite()
    if not len(points.values):
        return None
    index = int(np.argmax(points.values) if higher_is_better else np.argmin(points.values))
    return float(points.steps[index]), float(points.values[index])


def smooth(values: Sequence[float] | np.ndarray, *, window: float) -> np.ndarray:
    """Exponential moving average of `values` with decay 1 - 1/window, corrected for its start.

    The correction divides by the weight gathered so far (as Adam's does), so the first figure is
    the first value and not a mixture with zero. A value that is not finite is passed over and
    leaves a NaN in its place.

    Raises:
        ValueError: if window is below 1.
    """
    if window < 1:
        raise ValueError(f"smooth: window is {window}; give a number of points, 1 or more.")
    decay = 1.0 - 1.0 / window
    smoothed = np.full(len(values), np.nan)
    total, weight = 0.0, 0.0
    for index, value in enumerate(values):
        if not math.isfinite(value):
            continue
        total = decay * total + (1.0 - decay) * float(value)
        weight = decay * weight + (1.0 - decay)
        smoothed[index] = total / weight
    return smoothed
