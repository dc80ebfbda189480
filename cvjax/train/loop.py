"""The one loop: train, log, evaluate, save, resume, for every task.

What happens at a step is a pure function of (config, step), and the order is fixed: step, log line,
evaluation, checkpoint. So a run that was killed goes on from its newest sound checkpoint, cuts the
record after it, and ends where the uninterrupted run would have ended, bit for bit on one machine.
"""

import difflib
import math
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvjax.data.bad_examples import SkipLog
from cvjax.data.pipeline import Prefetch, eval_batches, train_batches
from cvjax.data.source import Source
from cvjax.evaluators.batches import Results
from cvjax.train.checkpoint import CheckpointError, Checkpoints, Restored
from cvjax.train.experiment import Evaluation, Experiment, TrainOptions
from cvjax.train.first_loss import log_first_loss
from cvjax.train.interrupt import Interruption
from cvjax.train.plateau import EarlyStopping
from cvjax.train.progress import Progress, clock, figures_text, log
from cvjax.train.restore import continue_from, initial_state
from cvjax.train.setup import Setup, batch_of_step, batch_shapes, prepare, whole_reading
from cvjax.train.sharding import describe_mesh, place_batch, replicated
from cvjax.train.state import TrainState
from cvjax.train.step import step_rngs
from cvjax.train.workdir import (
    claim_workdir,
    only_process_in,
    write_environment,
    write_pictures,
    write_results,
)
from cvjax.train.writer import METRICS, MetricWriter
from cvjax.vis.records import read_records

# Steps that may be under way at once: dispatch runs ahead of the device, batches must not pile up.
MAX_STEPS_IN_FLIGHT = 4
# What is shown as the run goes; everything is in metrics.jsonl.
_SHOWN = ("loss", "accuracy")
# Pictures in the grid that shows what training sees.
PREVIEW_IMAGES = 36


class NotFiniteError(FloatingPointError):
    """Training met a loss or gradient that is not finite; the message says where."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "finished", "stopped early" or "interrupted".
        figures: the last evaluations, by flat name such as `test/accuracy`.
        signal: the signal that interrupted it.
    """

    status: str
    step: int
    figures: dict[str, float]
    workdir: Path
    signal: int | None = None


def run(experiment: Experiment, workdir: str | Path) -> Outcome:
    """Trains to the end, from wherever the workdir's newest sound checkpoint left off.

    Raises:
        ValueError: if the workdir belongs to another config, or the parts do not fit together.
        CheckpointError: if nothing can be saved.
        NotFiniteError: at a loss or gradient that is NaN or infinite.
    """
    workdir = Path(workdir)
    setup = prepare(experiment)
    _check_watched_figures(experiment, setup)
    claim_workdir(workdir, experiment.config)
    with ExitStack() as stack:
        stack.enter_context(only_process_in(workdir))
        session = _Session(experiment, setup, workdir, stack)
        return session.train()


def evaluate(
    experiment: Experiment, workdir: str | Path, *, checkpoint: str = "best"
) -> dict[str, float]:
    """Evaluates a checkpoint of a finished or running workdir; {"test/accuracy": ...}.

    `checkpoint` is "best", "latest" or a step. Writes `evals/<name>.json`; trains nothing.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is damaged.
    """
    workdir = Path(workdir)
    setup = prepare(experiment)
    with Checkpoints(workdir / "checkpoints", warn=log.warning) as checkpoints:
        step, state = _restore_for_evaluation(checkpoints, checkpoint, setup)
    log.info("evaluating the checkpoint of step %d", step)
    figures, evaluators = {}, _evaluators(experiment)
    skip_log = SkipLog(_skip_path(workdir))
    for name, evaluation in experiment.evals.items():
        evaluator = _Evaluator(experiment, setup, evaluation, evaluators[name], skip_log)
        results = evaluator.run(state)
        write_results(workdir, name, evaluation.source, results, step)
        figures |= {f"{name}/{key}": value for key, value in results.scalars.items()}
    return figures


def _restore_for_evaluation(
    checkpoints: Checkpoints, which: str, setup: Setup
) -> tuple[int, TrainState]:
    """Looks again where a run that goes on meanwhile deleted what had been chosen."""
    while True:
        step = checkpoints.find(which)
        try:
            return step, checkpoints.restore(step, setup.state_shapes).state
        except CheckpointError:
            if which not in ("best", "latest") or step in checkpoints.steps():
                raise


class _Session:
    """One process's life of a run: what is open, and what the host remembers."""

    def __init__(
        self, experiment: Experiment, setup: Setup, workdir: Path, stack: ExitStack
    ) -> None:
        self.experiment, self.setup, self.workdir = experiment, setup, workdir
        self.main_process = jax.process_index() == 0
        self.skip_log = SkipLog(_skip_path(workdir))
        self.checkpoints = stack.enter_context(
            Checkpoints(workdir / "checkpoints", keep=experiment.train.keep, warn=log.warning)
        )
        self.early_stop = early_stopping(experiment.train)
        self.plateau = setup.optimizer.plateau
        self.state, self.host = self._start()
        self.step = int(self.state.step)
        self.writer = None
        if self.main_process:
            write_environment(workdir)
            self.writer = MetricWriter(
                workdir,
                keep_until=self.step if self.host["started"] else None,
                tensorboard=experiment.train.tensorboard,
            )
            stack.callback(self.writer.close)
        evaluators = _evaluators(experiment)
        self.evaluators = {
            name: _Evaluator(experiment, setup, evaluation, evaluators[name], self.skip_log)
            for name, evaluation in experiment.evals.items()
        }
        self.interruption = Interruption()

    def train(self) -> Outcome:
        total = self.setup.total_steps
        if self.host["ended"]:
            log.info("this run had already %s at step %d", self.host["ended"], self.step)
            return self._finish(self.host["ended"])
        self._compile()
        if self.main_process and self.step == 0:
            self._preview()
        self._started = time.monotonic()
        self._elapsed_before = self.host["elapsed_seconds"]
        experiment = self.experiment
        batches = train_batches(
            experiment.train_source,
            whole_reading(experiment, self.setup.rows, experiment.train_view),
            seed=experiment.seed,
            start_step=self.step,
            skip_log=self.skip_log,
        )
        place = partial(place_batch, mesh=self.setup.mesh, batch_size=experiment.batch_size)
        progress = Progress(total, start=self.step, quiet=not self.main_process)
        in_flight: deque[Any] = deque()
        window_start, window_step = time.monotonic(), self.step
        with self.interruption, Prefetch(batches, place, self.experiment.prefetch) as batches:
            try:
                while self.step < total:
                    self.state, report = self.train_step(self.state, next(batches))
                    self.step += 1
                    if self.step == 1 and self.main_process:
                        log_first_loss(self.experiment, report)
                    progress.step(self.step)
                    in_flight.append(report["bad_step"])
                    if len(in_flight) > MAX_STEPS_IN_FLIGHT:
                        in_flight.popleft().block_until_ready()

                    if self.step % self.experiment.train.log_every == 0 or self.step == total:
                        report = jax.device_get(report)  # waits for steps in flight: they count
                        figures = self._log(report, time.monotonic() - window_start, window_step)
                        progress.show(self.step, figures)
                        window_start, window_step = time.monotonic(), self.step
                    due = [name for name in self.evaluators if self._evaluation_due(name)]
                    if due:
                        self._evaluate(due, report)
                    ended = self._ending(total)
                    interrupted = not ended and self.interruption.requested(self.step)
                    save = ended or interrupted or self._checkpoint_due()
                    if save:
                        self._save(report, ended)
                    if due or save:  # a line's rate is of training alone
                        window_start, window_step = time.monotonic(), self.step
                    if ended:
                        break
                    if interrupted:
                        self.checkpoints.wait()
                        return self._interrupted()
            finally:
                progress.close()
        self.checkpoints.wait()
        return self._finish(self.host["ended"])

    def _start(self) -> tuple[TrainState, dict[str, Any]]:
        """Workdir's newest sound checkpoint > resume > init_from > stage before > scratch."""
        setup, train = self.setup, self.experiment.train
        found = self.checkpoints.newest_sound()
        if found is not None:
            restored = self.checkpoints.restore(found, setup.state_shapes)
            log.info("resuming from the checkpoint of step %d", found)
            return restored.state, restored.host
        host = {
            "started": False,
            "ended": "",
            "elapsed_seconds": 0.0,
            "best": None,
            "best_step": None,
            "figures": {},
            "plateau": None if self.plateau is None else self.plateau.initial(),
            "early_stop": None if self.early_stop is None else self.early_stop.initial(),
        }
        if train.resume:
            return self._continued(continue_from(train.resume, setup.state_shapes), host)
        report_path = self.workdir / "restore.json" if self.main_process else None
        return initial_state(self.experiment, setup.init(), report_path=report_path), host

    def _continued(
        self, restored: Restored, fresh: dict[str, Any]
    ) -> tuple[TrainState, dict[str, Any]]:
        """The other run's state and what its host remembered, as the start of this run.

        The best checkpoint stays there, so this run looks for its own.
        """
        if restored.step >= self.setup.total_steps:
            raise ValueError(
                f"train.resume={self.experiment.train.resume!r} is at step {restored.step}, but "
                f"this run has only {self.setup.total_steps}. Train longer: train.epochs or "
                "train.steps count from the other run's start."
            )
        host = {name: restored.host[name] for name in ("elapsed_seconds", "figures")}
        if self.plateau is not None and restored.host["plateau"] is not None:
            host["plateau"] = restored.host["plateau"]
        host = {**fresh, **host}
        scale = 1.0 if host["plateau"] is None else host["plateau"]["scale"]
        return self._with_lr_scale(restored.state, scale), host

    def _compile(self) -> None:
        started = time.monotonic()
        shapes = batch_shapes(self.setup, self.experiment.batch_size)
        self.train_step = self.setup.train_step.lower(self.setup.state_shapes, shapes).compile()
        count = sum(math.prod(p.shape) for p in jax.tree.leaves(self.state.params))
        log.info(
            "%s parameters, %d steps of %d examples, mesh %s, compiled in %.1f s",
            f"{count:,}",
            self.setup.total_steps,
            self.experiment.batch_size,
            describe_mesh(self.setup.mesh),
            time.monotonic() - started,
        )

    def _preview(self) -> None:
        """Pictures of the first batch as training sees it, before the normalisation."""
        count = min(PREVIEW_IMAGES, self.experiment.batch_size)
        source = self.experiment.train_source
        batch = batch_of_step(self.experiment, np.arange(count), 0)
        key, _ = step_rngs(self.experiment.seed, 0)
        seen = jax.jit(self.experiment.preview_transform)(key, batch)
        picture = write_pictures(self.workdir, "train_inputs", seen, source.info.class_names)
        self.writer.picture("train_inputs", picture, 0)

    def _log(self, report: Any, seconds: float, since: int) -> dict[str, float]:
        sums = {name: float(value) for name, value in report.items()}
        seconds = max(seconds, 1e-9)
        self._check_finite(int(sums.pop("bad_step")))
        count = sums.pop("count")
        record = {f"train/{name}": value / count for name, value in sums.items()}
        scale = 1.0 if self.host["plateau"] is None else self.host["plateau"]["scale"]
        record["lr"] = float(self.setup.optimizer.lr_fn(self.step - 1)) * scale
        images = (self.step - since) * self.experiment.batch_size
        record["train/images_per_second"] = images / seconds
        record["elapsed_seconds"] = self._elapsed()
        if self.writer is not None:
            self.writer.write(self.step, record)
        shown = {name: record[f"train/{name}"] for name in _SHOWN if name in sums}
        return {**shown, "images/s": record["train/images_per_second"]}

    def _evaluation_due(self, name: str) -> bool:
        return self._due(self.experiment.evals[name].every)

    def _checkpoint_due(self) -> bool:
        best_now = self.host["best_step"] == self.step
        return best_now or self._due(self.experiment.train.checkpoint_every)

    def _due(self, every: int | None) -> bool:
        """Every so many steps, or at the end of every epoch; and at the end of the run."""
        if self.step == self.setup.total_steps:
            return True
        if every is not None:
            return self.step % every == 0
        epochs = self.step / self.setup.steps_per_epoch
        return math.floor(epochs) > math.floor((self.step - 1) / self.setup.steps_per_epoch)

    def _evaluate(self, names: list[str], report: Any) -> None:
        self._check_finite(int(report["bad_step"]))
        for name in names:
            started = time.monotonic()
            results = self.evaluators[name].run(self.state)
            record = {f"{name}/{key}": value for key, value in results.scalars.items()}
            self.host["figures"] |= record
            shown = {k: results.scalars[k] for k in _SHOWN if k in results.scalars}
            if self.main_process and shown:
                log.info("step %d  %s: %s", self.step, name, figures_text(shown))
            if self.writer is not None:
                seconds = {f"{name}_eval_seconds": time.monotonic() - started}
                self.writer.write(self.step, {**record, **seconds})
                source = self.experiment.evals[name].source
                picture = write_results(self.workdir, name, source, results, self.step)
                if picture is not None:
                    self.writer.picture(name, picture, self.step)
        self._decide(names)

    def _decide(self, names: list[str]) -> None:
        """Best checkpoint, plateau and early stopping, from the figures measured now."""
        train, figures = self.experiment.train, self.host["figures"]
        fresh = {name: v for name, v in figures.items() if name.partition("/")[0] in names}
        if train.monitor in fresh:
            value, best = fresh[train.monitor], self.host["best"]
            better = best is None or (value > best if train.monitor_mode == "max" else value < best)
            if better and math.isfinite(value):
                self.host |= {"best": value, "best_step": self.step}
        if self.plateau is not None and self.plateau.metric in fresh:
            value = fresh[self.plateau.metric]
            self.host["plateau"], lowered = self.plateau.update(self.host["plateau"], value)
            if lowered:
                scale = self.host["plateau"]["scale"]
                log.info("step %d: plateau, learning rate scaled by %g", self.step, scale)
                self.state = self._with_lr_scale(self.state, scale)
        if self.early_stop is not None and self.early_stop.metric in fresh:
            value = fresh[self.early_stop.metric]
            state, stop = self.early_stop.update(self.host["early_stop"], value)
            self.host["early_stop"] = {**state, "stop": stop}

    def _with_lr_scale(self, state: TrainState, scale: float) -> TrainState:
        value = jax.device_put(jnp.float32(scale), replicated(self.setup.mesh))
        return state.replace(lr_scale=value)

    def _ending(self, total: int) -> str:
        if self.early_stop is not None and self.host["early_stop"].get("stop"):
            return "stopped early"
        return "finished" if self.step >= total else ""

    def _save(self, report: Any, ended: str) -> None:
        self._check_finite(int(report["bad_step"]))
        if self.writer is not None:
            self.writer.sync()
        self.host |= {"ended": ended, "started": True, "elapsed_seconds": self._elapsed()}
        self.checkpoints.save(self.state, self.step, self.host)

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def _check_finite(self, bad_step: int) -> None:
        if bad_step < 0:
            return
        self.checkpoints.wait()
        path = self.workdir / f"not_finite_step_{bad_step}.npz"
        if self.main_process:
            self._dump_batch(bad_step, path)
        kept = self.checkpoints.steps()
        raise NotFiniteError(
            f"the loss or its gradient was not finite at step {bad_step}. The batch of that step "
            f"was written to {path}. Lower optim.lr (now {self.experiment.optim.lr}), set "
            "optim.clip_norm, or look for bad data in that batch. Checkpoints from before: "
            f"{kept or 'none'}."
        )

    def _dump_batch(self, step: int, path: Path) -> None:
        batch = batch_of_step(self.experiment, self.setup.rows, step)
        key, _ = step_rngs(self.experiment.seed, step)
        seen = jax.device_get(jax.jit(self.experiment.train_transform)(key, batch))
        arrays = {f"host_{name}": value for name, value in batch.items()}
        np.savez(path, step=step, **arrays, **{f"device_{k}": v for k, v in seen.items()})

    def _interrupted(self) -> Outcome:
        log.info(
            "interrupted: saved at step %d of %d; the same command goes on from there",
            self.step,
            self.setup.total_steps,
        )
        figures, number = dict(self.host["figures"]), self.interruption.signal
        return Outcome("interrupted", self.step, figures, self.workdir, number)

    def _finish(self, status: str) -> Outcome:
        if self.main_process:
            self.writer.sync()
            self._report(status)
        return Outcome(status, self.step, dict(self.host["figures"]), self.workdir)

    def _report(self, status: str) -> None:
        from cvjax.vis.curves import plot_curves  # here: matplotlib takes a while to import
        from cvjax.vis.report import write_report

        plot_curves(read_records(self.workdir / METRICS), self.workdir / "curves.png")
        write_report(self.workdir)
        elapsed = clock(self.host["elapsed_seconds"])
        log.info("%s at step %d after %s", status, self.step, elapsed)
        for name, value in sorted(self.host["figures"].items()):
            log.info("  %-28s %.4f", name, value)
        train = self.experiment.train
        if self.host["best_step"] is not None:
            log.info(
                "  best %s %.4f at step %d",
                train.monitor,
                self.host["best"],
                self.host["best_step"],
            )
        if self.skip_log.examples:
            count = self.skip_log.examples
            log.info("  %d bad examples were left out: %s", count, _skip_path(self.workdir))
        log.info("checkpoints  %s", self.workdir / "checkpoints")
        log.info("metrics      %s", self.workdir / METRICS)
        if train.tensorboard:
            log.info("TensorBoard  %s", self.workdir / "events")
        log.info("curves       %s", self.workdir / "curves.png")
        log.info("report       %s", self.workdir / "report.html")


class _Evaluator:
    """One entry of `evals`: the split's batches through the evaluator, on the mesh."""

    def __init__(
        self,
        experiment: Experiment,
        setup: Setup,
        evaluation: Evaluation,
        evaluator: Any,
        skip_log: SkipLog,
    ) -> None:
        self._source, self._skip_log = evaluation.source, skip_log
        self._training = None if evaluation.probe is None else experiment.train_source
        # Where no example may be left out, each has to be counted exactly once.
        self._no_holes = experiment.on_bad_example == "error"
        self._evaluator = evaluator
        self._reading = whole_reading(experiment, setup.rows, experiment.eval_view)
        self._place = partial(place_batch, mesh=setup.mesh, batch_size=experiment.batch_size)

    def run(self, state: TrainState) -> Results:
        with ExitStack() as stack:
            further: dict[str, Any] = {}
            if self._training is not None:  # seen as evaluation sees images, without augmentation
                further["training"] = stack.enter_context(self._placed(self._training))
                further["num_training"] = self._count(self._training)
            placed = stack.enter_context(self._placed(self._source))
            return self._evaluator.run(
                state.evaluation_variables,
                placed,
                num_examples=self._count(self._source),
                **further,
            )

    def _placed(self, source: Source) -> Prefetch:
        batches = eval_batches(source, self._reading, skip_log=self._skip_log)
        return Prefetch(batches, self._place)

    def _count(self, source: Source) -> int | None:
        return len(source) if self._no_holes else None


def _skip_path(workdir: Path) -> Path:
    """One log a process: appending from several to one file would mix their lines."""
    index = jax.process_index()
    return workdir / (f"skipped.process{index}.log" if index else "skipped.log")


def early_stopping(train: TrainOptions) -> EarlyStopping | None:
    """The rule that `train.early_stop` means: better is what makes a checkpoint the best."""
    if train.early_stop is None:
        return None
    return EarlyStopping(
        metric=train.monitor,
        mode=train.monitor_mode,
        patience=train.early_stop - 1,
        threshold=0.0,
    )


def _check_watched_figures(experiment: Experiment, setup: Setup) -> None:
    """Raises ValueError where something waits for a figure that no evaluation will measure, or a
    probe for features that the model does not have.

    A run without evaluations has no best checkpoint, so there `train.monitor` alone is ignored.
    """
    watched = {}
    if experiment.evals or experiment.train.early_stop is not None:
        watched["train.monitor"] = experiment.train.monitor
    if setup.optimizer.plateau is not None:
        watched["optim.schedule.metric"] = setup.optimizer.plateau.metric
    asks_more = any(each.probe or each.of_task for each in experiment.evals.values())
    if not asks_more and not any(watched.values()):
        return
    example = {**setup.example, "valid": np.ones(len(setup.example["image"]), bool)}
    variables = setup.state_shapes.evaluation_variables
    names: dict[int, tuple[str, ...]] = {}  # tracing a big network again takes seconds
    measured = set()
    for entry, evaluator in _evaluators(experiment).items():
        if id(evaluator) not in names:
            names[id(evaluator)] = evaluator.scalar_names(variables, example)
        measured |= {f"{entry}/{name}" for name in names[id(evaluator)]}
    problems = [
        f"{field} is {figure!r}, which no evaluation measures.{_nearest(figure, measured)}"
        for field, figure in watched.items()
        if figure and figure not in measured
    ]
    if problems:
        raise ValueError("\n".join(problems))


def _evaluators(experiment: Experiment) -> dict[str, Any]:
    """What runs through the raw batches of each entry of `evals`, preprocessing inside.

    All entries that ask for nothing of their own share one evaluator, which compiles once.
    """
    task, transform = experiment.task, experiment.eval_transform

    def own(**options: Any) -> Any:
        return experiment.evaluator(
            predict=lambda variables, batch: task.predict(variables, transform(batch)),
            metrics=task.metrics(),
            **options,
        )

    shared = own()

    def evaluator_of(evaluation: Evaluation) -> Any:
        if evaluation.of_task is not None:
            return evaluation.of_task(task=task, transform=transform)
        if evaluation.probe is not None:
            return evaluation.probe(
                features=lambda variables, batch: task.features(variables, transform(batch))
            )
        return own(**evaluation.options) if evaluation.options else shared

    return {name: evaluator_of(evaluation) for name, evaluation in experiment.evals.items()}


def _nearest(name: str, known: set[str]) -> str:
    if not known:
        return " There are no evaluations: add one to the section evals."
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(sorted(known))}."
