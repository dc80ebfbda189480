"""The learning-rate range test: `launch.py --mode find_lr`.

Smith 2015, "Cyclical learning rates for training neural networks", sec. 3.3
(https://arxiv.org/abs/1506.01186): train while the rate grows, and look where the loss stops
falling. Differs from the paper: the rate grows exponentially, so that one sweep covers decades.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvjax.data.pipeline import Prefetch, train_batches
from cvjax.train.experiment import Experiment
from cvjax.train.first_loss import log_first_loss
from cvjax.train.progress import Progress, log
from cvjax.train.setup import Setup, prepare, whole_reading
from cvjax.train.sharding import place_batch, replicated
from cvjax.train.state import TrainState
from cvjax.train.trials import as_trial, starting_state, write_trial
from cvjax.vis.diagnosis import DIVERGENCE_FACTOR, DIVERGENCE_FLOOR
from cvjax.vis.records import smooth

NAME = "find_lr"
# The sweep goes from optim.lr / 10,000 to optim.lr * 1,000: seven decades of thirty steps, around
# the config's own rate, because what is usual depends on the optimizer and the loss's reduction.
LOW, HIGH = 1e-4, 1e3
STEPS = 210
# The average spans a 20th of the sweep, a third of a decade, to either side.
SMOOTH_FRACTION = 1 / 20
# What is suggested, as a part of the rate of the lowest loss. On a quadratic that one is the limit
# of stability and half of it is best; noise, momentum and sharper regions later on want a margin.
MARGIN = 10.0
# A smoothed loss that has not lost a tenth of its start anywhere suggests nothing: batches differ.
LEAST_FALL = 0.1
# Losses below this part of the first one count as this part: 0 has no logarithm.
_LEAST_LOSS = 1e-12


class Verdict(NamedTuple):
    """What a sweep says.

    Attributes:
        lr: the suggestion; None where the sweep supports none.
        lowest_lr: the rate at which the smoothed loss is lowest; None where no loss is finite.
        smoothed: the loss's moving average, NaN where the loss is not finite.
        text: the suggestion and how it was chosen, or why there is none and what to do.
    """

    lr: float | None
    lowest_lr: float | None
    smoothed: np.ndarray
    text: str


class Sweep(NamedTuple):
    """`losses[i]` is the loss after a step at `rates[i]`; `stopped` says that it diverged."""

    first_loss: float
    rates: np.ndarray
    losses: np.ndarray
    stopped: bool


def find_lr(experiment: Experiment, workdir: str | Path, steps: int | None = None) -> str:
    """Sweeps, writes `find_lr.jsonl` and `find_lr.png`, and returns the verdict as text.

    Raises:
        ValueError: if the config's rate is 0, or its optimizer searches along a line (lbfgs).
    """
    steps = STEPS if steps is None else steps
    if not experiment.optim.lr > 0:
        raise ValueError(
            f"optim.lr is {experiment.optim.lr}; the sweep is laid around it, so give a rough one."
        )
    if experiment.optim.name == "lbfgs":
        raise ValueError(
            "optim.name='lbfgs' finds the length of each step by a line search, so there is no "
            "rate to look for. Keep optim.lr=1, or sweep another optimizer."
        )
    trial = as_trial(experiment, steps=steps)
    rates = experiment.optim.lr * np.geomspace(LOW, HIGH, steps)
    setup = prepare(trial)
    sweep = run_sweep(trial, setup, starting_state(trial, setup), rates)
    verdict = read_sweep(sweep)
    records = [
        {"step": index + 1, "lr": float(lr), "loss": _plain(loss), "smoothed_loss": _plain(mean)}
        for index, (lr, loss, mean) in enumerate(zip(sweep.rates, sweep.losses, verdict.smoothed))
    ]
    summary = {
        "first_loss": _plain(sweep.first_loss),
        "suggested_lr": verdict.lr,
        "lowest_loss_lr": verdict.lowest_lr,
        "diverged": sweep.stopped,
        "verdict": verdict.text,
    }
    paths = write_trial(workdir, NAME, [*records, summary])
    if paths is not None:
        from cvjax.vis.rate_sweep import plot_sweep  # here: matplotlib takes a while to import

        plot_sweep(
            sweep.rates,
            sweep.losses,
            verdict.smoothed,
            paths[1],
            suggestion=verdict.lr,
            lowest=verdict.lowest_lr,
            configured=experiment.optim.lr,
        )
        log.info("sweep    %s", paths[0])
        log.info("picture  %s", paths[1])
    return f"{verdict.text}\nThe config says optim.lr={experiment.optim.lr:g}."


def run_sweep(experiment: Experiment, setup: Setup, state: TrainState, rates: np.ndarray) -> Sweep:
    """Trains with each of `rates` in turn; stops where the loss has diverged.

    `experiment` is a trial (`as_trial`) and `setup` what `prepare` makes of it. The rate goes in as
    the state's `lr_scale`, so groups keep their ratios to one another.
    """
    reading = whole_reading(experiment, setup.rows, experiment.train_view)
    batches = train_batches(experiment.train_source, reading, seed=experiment.seed)
    place = partial(place_batch, mesh=setup.mesh, batch_size=experiment.batch_size)
    progress = Progress(len(rates), quiet=jax.process_index() != 0)
    losses: list[float] = []  # one before any step, then one after each
    with Prefetch(batches, place, experiment.prefetch) as batches:
        try:
            for lr in _and_last_again(rates):
                scale = jnp.float32(lr / experiment.optim.lr)
                state = state.replace(lr_scale=jax.device_put(scale, replicated(setup.mesh)))
                state, report = setup.train_step(state, next(batches))
                report = jax.device_get(report)
                if not losses and jax.process_index() == 0:
                    log_first_loss(experiment, report)
                losses.append(float(report["loss"]))
                done = len(losses) - 1
                progress.step(done)
                if done:
                    progress.show(done, {"lr": float(rates[done - 1]), "loss": losses[-1]})
                if has_diverged(losses) or int(report["bad_step"]) >= 0:
                    break
        finally:
            progress.close()
    stopped = has_diverged(losses) or int(report["bad_step"]) >= 0
    after = np.asarray(losses[1:])
    return Sweep(losses[0], rates[: len(after)], after, stopped)


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last loss is not finite, or their average has risen far above its lowest.

    Far is what `diagnosis` calls diverged: three times as high, and at a tenth of the start.
    """
    if not math.isfinite(losses[-1]):
        return True
    means = smooth(losses, window=max(2.0, len(losses) * SMOOTH_FRACTION))
    lowest, start = float(np.nanmin(means)), float(means[0])
    return float(means[-1]) > max(DIVERGENCE_FACTOR * lowest, DIVERGENCE_FLOOR * start)


def read_sweep(sweep: Sweep) -> Verdict:
    """The suggestion of a sweep: a tenth of the rate at which the smoothed loss was lowest.

    The average is one of logarithms (a loss that explodes must not outweigh all before it) and
    looks both ways, so that its lowest point lies where the loss's does.
    """
    finite = np.isfinite(sweep.losses)
    if not np.any(finite) or not math.isfinite(sweep.first_loss):
        smoothed = np.full(len(sweep.losses), np.nan)
        return Verdict(None, None, smoothed, f"No suggestion: no finite loss. {_LOOK}")
    least = max(_LEAST_LOSS * sweep.first_loss, np.finfo(np.float64).tiny)
    logs = np.log(np.maximum(sweep.losses, least))
    window = max(2.0, len(logs) * SMOOTH_FRACTION)
    both_ways = (smooth(logs, window=window) + smooth(logs[::-1], window=window)[::-1]) / 2
    smoothed = np.exp(both_ways)
    index = int(np.nanargmin(smoothed))
    lowest, lr = float(smoothed[index]), float(sweep.rates[index])
    if lowest > (1 - LEAST_FALL) * sweep.first_loss:
        text = (
            f"No suggestion: the loss was {sweep.first_loss:.4g} before the sweep and, smoothed, "
            f"{lowest:.4g} at the lowest: it did not fall by a tenth. {_LOOK}"
        )
        return Verdict(None, lr, smoothed, text)
    text = (
        f"Suggestion: optim.lr={_rounded(lr / MARGIN):g}, a tenth of {lr:.3g}, where the smoothed "
        f"loss was lowest ({lowest:.4g}, from {sweep.first_loss:.4g}). With a warm-up and a "
        f"schedule that decays, the peak may lie between the two."
    )
    if not sweep.stopped and index >= len(logs) - window:
        text += (
            " The loss still fell at the sweep's end: the best rate may be higher. Set "
            f"optim.lr={_rounded(lr / MARGIN):g} and sweep again."
        )
    return Verdict(_rounded(lr / MARGIN), lr, smoothed, text)


_LOOK = (
    "Try --mode overfit_one_batch first; if that works, move optim.lr by a power of a thousand and "
    "sweep again."
)


def _and_last_again(rates: np.ndarray) -> Iterator[float]:
    """The loss that a step reports is that before it, so the last rate needs one step more."""
    yield from (float(lr) for lr in rates)
    yield float(rates[-1])


def _rounded(lr: float) -> float:
    """Two significant digits: the third is noise."""
    return float(f"{lr:.1e}")


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if math.isfinite(value) else None
