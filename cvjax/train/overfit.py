"""Can the network learn one batch by heart? `launch.py --mode overfit_one_batch`.

The first test of a new model, loss or data set: with one fixed batch, no augmentation, no dropout
and no penalty, loss and errors must go to zero. If they don't, no data and no patience will help.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvjax.train.experiment import Experiment
from cvjax.train.first_loss import guessing, log_first_loss, per_example_loss
from cvjax.train.progress import Progress, log
from cvjax.train.setup import Setup, batch_of_step, prepare
from cvjax.train.sharding import place_batch
from cvjax.train.trials import as_trial, starting_state, write_trial
from cvjax.vis.diagnosis import CHANCE_MARGIN

NAME = "overfit_one_batch"
STEPS = 500
# A loss of a hundredth of guessing's (or of its start, where that is unknown) is about zero: each
# example of ten classes then has a probability of 98% or so.
SOLVED = 0.01
# Fields of models and tasks that make one batch harder to learn, on purpose: to be 0 here.
DROPOUT_FIELDS = (
    "dropout",
    "attention_dropout",
    "aux_dropout",
    "drop_connect",
    "drop_path",
    "drop_rate",
)
_DECAY = "weight_decay"
PENALTY_FIELDS = ("label_smoothing", "l1", "l2")


def overfit_one_batch(experiment: Experiment, workdir: str | Path, steps: int | None = None) -> str:
    """Trains on the first batch alone, writes `overfit_one_batch.jsonl` and `.png`.

    Returns, as text, after how many of at most `steps` steps the batch was learnt, or that it was
    not and what to look at.
    """
    steps = STEPS if steps is None else steps
    trial = plain_experiment(as_trial(experiment, steps=steps))
    setup = prepare(trial)
    batch = batch_of_step(trial, setup.rows, 0)
    records = memorise(trial, setup, batch)
    verdict = read_memory(records, guessing(trial.task), batch, setup, trial.optim.lr)
    paths = write_trial(workdir, NAME, records)
    if paths is not None:
        from cvjax.vis.curves import plot_curves  # here: matplotlib takes a while to import

        plot_curves(records, paths[1], guessing=guessing(trial.task))
        log.info("curves   %s", paths[0])
        log.info("picture  %s", paths[1])
    return verdict


def plain_experiment(experiment: Experiment) -> Experiment:
    """`experiment` without augmentation, dropout, stochastic depth, smoothing, penalty or decay."""
    task, optim = experiment.task, experiment.optim
    model = getattr(task, "model", None)
    changes: dict[str, Any] = dict.fromkeys(_set_fields(task, PENALTY_FIELDS), 0.0)
    if model is not None:
        off = dict.fromkeys(_set_fields(model, DROPOUT_FIELDS), 0.0)
        changes["model"] = model.clone(**off)
    groups = tuple(
        (pattern, None if group is None else {k: v for k, v in group.items() if k != _DECAY})
        for pattern, group in optim.groups
    )
    evaluation_transform = experiment.eval_transform
    return dataclasses.replace(
        experiment,
        task=dataclasses.replace(task, **changes) if changes else task,
        optim=dataclasses.replace(optim, weight_decay=0.0, groups=groups),
        train_transform=lambda key, batch: evaluation_transform(batch),
        train_view=experiment.eval_view,
    )


def memorise(
    experiment: Experiment, setup: Setup, host_batch: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Trains on `host_batch` until it is learnt or the trial's steps are over; a record a step.

    `train/loss` is per example and without penalties. The figures of a record are those before its
    step, so that of step 1 is the initial loss.
    """
    state = starting_state(experiment, setup)
    batch = place_batch(host_batch, setup.mesh, experiment.batch_size)
    chance = guessing(experiment.task)
    progress = Progress(setup.total_steps, quiet=jax.process_index() != 0)
    records: list[dict[str, Any]] = []
    try:
        for step in range(1, setup.total_steps + 1):
            state, report = setup.train_step(state, batch)
            figures = {name: float(value) for name, value in jax.device_get(report).items()}
            if step == 1 and jax.process_index() == 0:
                log_first_loss(experiment, figures)
            loss = per_example_loss(experiment, figures)
            shown = {name: figures[name] for name in ("accuracy", "grad_norm") if name in figures}
            shown = {"loss": loss, **shown}
            plain = {f"train/{k}": v if math.isfinite(v) else None for k, v in shown.items()}
            records.append({"step": step, **plain})
            progress.step(step)
            progress.show(step, shown)
            if figures["bad_step"] >= 0 or _learnt(records, chance):
                break
    finally:
        progress.close()
    return records


def read_memory(
    records: Sequence[Mapping[str, Any]],
    chance: Mapping[str, float],
    host_batch: Mapping[str, np.ndarray],
    setup: Setup,
    lr: float,
) -> str:
    """What `memorise` found, with its figures, and where to look if the batch was not learnt."""
    last, count = records[-1], len(host_batch.get("label", host_batch["image"]))
    figures = _figures(last)
    if _learnt(records, chance):
        return (
            f"Learnt: {count} examples by heart after {last['step'] - 1} steps, {figures}. "
            "Model, loss, data and optimizer fit together."
        )
    started = f"Failed: after {last['step'] - 1} steps on the same {count} examples, {figures}."
    advice = list(_advice(records, chance, host_batch, setup, lr))
    return "\n".join([started, *(f"  - {line}" for line in advice)])


def _learnt(records: Sequence[Mapping[str, Any]], chance: Mapping[str, float]) -> bool:
    first, last = records[0]["train/loss"], records[-1]
    if first is None or last["train/loss"] is None:
        return False
    scale = chance.get("loss", abs(first))
    return last["train/loss"] <= SOLVED * scale and last.get("train/accuracy", 1.0) >= 1.0


def _figures(record: Mapping[str, Any]) -> str:
    loss = record["train/loss"]
    text = "loss not finite" if loss is None else f"loss {loss:.3g}"
    accuracy = record.get("train/accuracy")
    return text if accuracy is None else f"{text}, accuracy {accuracy:.2%}"


def _advice(records, chance, host_batch, setup, lr):
    losses = np.asarray([np.nan if r["train/loss"] is None else r["train/loss"] for r in records])
    if not np.isfinite(losses[-1]) or not np.isfinite(records[-1]["train/grad_norm"] or np.nan):
        yield (
            f"Loss or gradient is not finite at step {len(records)}: lower optim.lr (now {lr:g}), "
            "and look for log(0), 0/0 and overflow."
        )
        return
    clashes = _contradictions(host_batch)
    if clashes:
        yield f"{clashes} examples of this batch are equal images with different labels."
    if records[-1]["train/grad_norm"] == 0:
        yield "The gradient is exactly 0: a dead or cut path between parameters and loss."
    frozen = [row.path for row in setup.optimizer.table() if row.frozen]
    if frozen:
        yield f"{len(frozen)} parameters are frozen, such as {frozen[0]}: is what trains enough?"
    scale = chance.get("loss", losses[0])
    if losses[-1] > 2 * np.min(losses):
        yield (
            f"The loss had been at {np.min(losses):.3g} and rose again: lower optim.lr "
            f"(now {lr:g}); --mode find_lr shows how far."
        )
    elif np.min(losses) >= scale * (1 - CHANCE_MARGIN):
        yield (
            "The loss never went below guessing: do images and labels belong together, does the "
            "gradient reach the first layer, are the inputs normalised?"
        )
        yield f"Is optim.lr={lr:g} off by a power of ten? --mode find_lr shows."
    elif losses[-1] < 0.9 * losses[len(losses) // 2]:
        yield (
            "The loss still falls: more --trial_steps, or a higher optim.lr "
            f"(now {lr:g}); --mode find_lr shows how far."
        )
    else:
        yield (
            "The loss has stopped falling: a network too small for the batch, a rate too high to "
            f"settle (optim.lr={lr:g}) or noise inside the model."
        )


def _contradictions(host_batch: Mapping[str, np.ndarray]) -> int:
    """How many examples have an equal image with another label in the batch."""
    if "label" not in host_batch:
        return 0
    labels: dict[bytes, set[bytes]] = {}
    keys = [np.ascontiguousarray(image).tobytes() for image in host_batch["image"]]
    for key, label in zip(keys, host_batch["label"]):
        labels.setdefault(key, set()).add(np.asarray(label).tobytes())
    return sum(len(labels[key]) > 1 for key in keys)


def _set_fields(owner: Any, names: Sequence[str]) -> list[str]:
    """Those of `names` that `owner` has as numbers."""
    values = {name: getattr(owner, name, None) for name in names}
    return [name for name, v in values.items() if isinstance(v, (int, float))]
