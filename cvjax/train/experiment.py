"""A run in parts: what `build` makes of a config and the loop runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvjax.data.source import Source
from cvjax.data.views import View
from cvjax.evaluators.batches import Batches
from cvjax.train.optim import OptimOptions


@dataclass(frozen=True)
class TrainOptions:
    """The section `train` of a config.

    Attributes:
        epochs: length of the run in passes over the training split.
        steps: length of the run in steps; where it is set, `epochs` does not count.
        log_every: steps between two lines of training metrics, which average over them.
        checkpoint_every: steps between two checkpoints; None saves at the end of every epoch.
        keep: newest checkpoints to keep; the best one is kept besides.
        monitor: evaluation figure that decides which checkpoint is best; "" for none.
        monitor_mode: "max" or "min".
        early_stop: stop after this many evaluations without a better `monitor`; None never.
        sharding: "replicated" or "fsdp", see docs/scale.md.
        model_parallel: size of the mesh's model axis.
        resume: checkpoint folder or workdir to continue from, state and step and all.
        init_from: whose parameters to start from: a checkpoint folder, a workdir, a file of
            torchvision's or timm's weights of this model, "timm/NAME" on the hub, or "fetch:NAME".
        init_rules: (target regex, source template or None) and, where an array is to change its
            shape, a converter's name; see `cvjax.train.restore` and `cvjax.pretrained.reshape`.
        tensorboard: whether to write TensorBoard events.
    """

    epochs: float | None = None
    steps: int | None = None
    log_every: int = 50
    checkpoint_every: int | None = None
    keep: int = 2
    monitor: str = "test/accuracy"
    monitor_mode: str = "max"
    early_stop: int | None = None
    sharding: str = "replicated"
    model_parallel: int = 1
    resume: str = ""
    init_from: str = ""
    init_rules: tuple[tuple[str, str | None] | tuple[str, str, str], ...] = ()
    tensorboard: bool = True

    def __post_init__(self) -> None:
        problems = []
        if self.epochs is None and self.steps is None:
            problems.append("train.epochs or train.steps is missing: how long to train.")
        for name in ("epochs", "steps", "log_every", "checkpoint_every", "keep", "early_stop"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                problems.append(f"train.{name} is {value}; it has to be greater than 0.")
        if self.monitor_mode not in ("max", "min"):
            problems.append(f"train.monitor_mode is {self.monitor_mode!r}; use 'max' or 'min'.")
        if self.early_stop is not None and not self.monitor:
            problems.append("train.early_stop needs train.monitor: what has to get better.")
        if self.resume and self.init_from:
            problems.append("train.resume and train.init_from exclude each other; set one.")
        if problems:
            raise ValueError("\n".join(problems))


@dataclass(frozen=True)
class EmaOptions:
    """The section `ema`: moving averages of parameters and statistics, used in evaluation.

    Attributes:
        decay: share of the old average that a step keeps, in (0, 1); None keeps no average.
        warmup: start with the smaller decay (1 + step) / (10 + step), so that the random start
            is forgotten soon.
    """

    decay: float | None = None
    warmup: bool = True

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"ema.decay is {self.decay}; it has to lie between 0 and 1, or None.")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the section `evals`: a source and how often it is run through.

    `every` counts steps; None means the end of every epoch. The end of the run always counts.

    Attributes:
        probe: (features=) -> what learns from the training split's features and is judged on
            this source, such as `cvjax.evaluators.knn.NearestNeighbours`; None for the
            experiment's own evaluator.
        of_task: (task=, transform=) -> an evaluator that calls the task itself, such as
            `cvjax.evaluators.samples.Samples`; None likewise.
        options: for the experiment's own evaluator, such as groups of similar classes.
    """

    source: Source
    every: int | None = None
    probe: Callable[..., Any] | None = None
    of_task: Callable[..., Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Everything that a run needs, made; nothing in it is a name any more.

    Attributes:
        config: the complete config as plain data, for the record and for comparison at a restart.
        train_transform: (key, batch) -> batch on the device, in training.
        eval_transform: batch -> batch on the device, in evaluation.
        preview_transform: as `train_transform`, back in [0, 1], for people to look at.
        evaluator: (predict=, metrics=) -> what runs through an evaluation's batches, such as
            `cvjax.evaluators.batches.Batches`.
        other_weights: `train.init_from` -> variables of the model as host arrays, or None where
            it names no weights of another library.
        converters: what rules of `train.init_rules` may name, see `cvjax.train.restore.make_plan`.
        stage_before: workdir of the stage before this one, whose state it starts from; None
            where there is none, and `train.init_from` says where to start.
    """

    config: Mapping[str, Any]
    seed: int
    task: Any
    train_source: Source
    batch_size: int
    train_transform: Callable
    eval_transform: Callable
    preview_transform: Callable
    optim: OptimOptions
    train: TrainOptions
    ema: EmaOptions = EmaOptions()
    evals: Mapping[str, Evaluation] = field(default_factory=dict)
    evaluator: Callable[..., Any] = Batches
    train_view: View | None = None
    eval_view: View | None = None
    workers: int = 0
    threads: int = 2
    prefetch: int = 2
    on_bad_example: str = "error"
    other_weights: Callable[[str], Mapping[str, Any] | None] | None = None
    converters: Mapping[str, Any] = field(default_factory=dict)
    stage_before: Path | None = None
