"""Learning rates as functions of the step: constant, decaying, cyclic, all with warm-up.

A schedule is the learning rate times a curve that knows nothing of it, so that groups of parameters
with learning rates of their own follow the same curve. Durations (warm-up, milestones, periods) are
in one unit: "epoch", "step", or "fraction" of the whole run. Options ending in `factor` are
factors on the learning rate.
"""

import dataclasses
import difflib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from beartype import BeartypeConf
from beartype.door import is_bearable

from cvjax.train.plateau import ReduceOnPlateau

UNITS = ("epoch", "step", "fraction")
_TYPES = BeartypeConf(is_pep484_tower=True)  # an int where a float is expected is fine

Curve = Callable[[jax.Array], jax.Array]  # step -> factor on the learning rate


def make_schedule(
    name: str,
    *,
    lr: float,
    total_steps: int,
    steps_per_epoch: float,
    warmup: float = 0.0,
    unit: str = "epoch",
    **options: Any,
) -> optax.Schedule:
    """Function from the step (0 for the first) to its learning rate.

    `warmup` rises linearly: step t of W gets (t + 1) / W, so no step is spent at zero. step,
    piecewise and one_cycle count from the start of the run (as Goyal et al. 2017 do, whose epochs
    30, 60, 80 include the warm-up, https://arxiv.org/abs/1706.02677); the other curves begin where
    the warm-up ends. After the end of a curve its last value holds.

    Raises:
        ValueError: naming everything that is wrong: the name, an option, a duration.
    """
    problems = []
    if name not in SCHEDULES:
        problems.append(unknown("name", name, SCHEDULES))
    else:
        accepted = ReduceOnPlateau if name == "plateau" else SCHEDULES[name]
        problems += option_problems(f"schedule {name!r}", accepted, options, given=("span",))
    if unit not in UNITS:
        problems.append(unknown("unit", unit, UNITS))
    if not (_is_number(lr) and lr >= 0):
        problems.append(f"lr: a finite number >= 0 is needed, got {lr!r}.")
    if not (_is_number(warmup) and warmup >= 0):
        problems.append(f"warmup: a duration >= 0 is needed, got {warmup!r}.")
    if total_steps < 1:
        problems.append(f"total_steps: at least 1 is needed, got {total_steps!r}.")
    if not steps_per_epoch > 0:
        problems.append(f"steps_per_epoch: a number > 0 is needed, got {steps_per_epoch!r}.")
    if problems:
        raise ValueError("\n".join(problems))

    span = Span(total_steps, steps_per_epoch, unit)
    warmup_steps = span.steps(warmup)
    if warmup_steps > total_steps:
        raise ValueError(
            f"warmup: {span.text(warmup)} is longer than the run of {total_steps} steps.\n"
            "  Shorten it, train longer, or give it as a fraction (unit='fraction')."
        )
    if name == "one_cycle" and warmup_steps:
        raise ValueError("warmup: one_cycle has its own, pct_start.\n  Give warmup=0.")
    span = dataclasses.replace(span, start=warmup_steps)
    curve = SCHEDULES[name](span, **options)

    def schedule(step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step)
        factor = curve(step)
        if warmup_steps:
            factor = factor * jnp.minimum((step + 1) / warmup_steps, 1.0)
        return lr * factor

    return schedule


@dataclasses.dataclass(frozen=True)
class Span:
    """The run that a curve is laid over: its steps, the unit of durations, the warm-up's end."""

    total_steps: int
    steps_per_epoch: float
    unit: str
    start: int = 0

    def steps(self, duration: float) -> int:
        """`duration` in steps, rounded to the nearest."""
        scale = {"epoch": self.steps_per_epoch, "step": 1, "fraction": self.total_steps}[self.unit]
        return round(duration * scale)

    def text(self, duration: float) -> str:
        """`5 epoch (500 steps)`"""
        return f"{duration:g} {self.unit} ({self.steps(duration)} steps)"

    def period(self, field: str, duration: float) -> int:
        """`duration` in steps; a ValueError that names `field` unless it is at least one."""
        steps = self.steps(duration) if duration > 0 else 0
        if steps < 1:
            raise ValueError(f"{field}: at least one step is needed, got {duration:g} {self.unit}.")
        return steps

    def since_start(self, step: jax.Array) -> jax.Array:
        """Steps since the warm-up, 0 while it lasts."""
        return jnp.maximum(step - self.start, 0)

    def progress(self, duration: float | None) -> Curve:
        """From 0 at the warm-up's end to 1 after `duration` (None: at the run's end), then 1."""
        if duration is None:
            steps = max(self.total_steps - self.start, 1)
        else:
            steps = self.period("duration", duration)
        return lambda step: jnp.clip(self.since_start(step) / steps, 0.0, 1.0)


def constant(span: Span) -> Curve:
    """1."""
    return lambda step: jnp.ones_like(step, float)


def step(span: Span, *, every: float, factor: float = 0.1) -> Curve:
    """Times `factor` after each period `every`, counted from the start of the run."""
    period = span.period("every", every)
    return lambda step: factor ** (step // period).astype(float)


def piecewise(
    span: Span, *, milestones: Sequence[float], factor: float | Sequence[float] = 0.1
) -> Curve:
    """Times `factor` at each milestone, counted from the start of the run; or a factor for each."""
    milestones = tuple(milestones)
    factors = tuple(factor) if isinstance(factor, Iterable) else (factor,) * len(milestones)
    problems = []
    if any(b <= a for a, b in itertools.pairwise(milestones)):
        problems.append(f"milestones: increasing times are needed, got {milestones}.")
    if any(not m > 0 for m in milestones):
        problems.append(f"milestones: times after the start are needed, got {milestones}.")
    if len(factors) != len(milestones):
        problems.append(
            f"factor: one number, or one for each of {len(milestones)} milestones, is needed,"
            f" got {len(factors)}."
        )
    if problems:
        raise ValueError("\n".join(problems))
    bounds = np.array([span.steps(m) for m in milestones], np.int32)
    values = np.cumprod(np.array((1.0, *factors)))

    def curve(step: jax.Array) -> jax.Array:
        return jnp.asarray(values)[jnp.searchsorted(jnp.asarray(bounds), step, side="right")]

    return curve


def exponential(span: Span, *, factor: float, every: float = 1.0) -> Curve:
    """Falls by `factor` in each period `every`, smoothly, from the end of the warm-up."""
    period = span.period("every", every)
    return lambda step: factor ** (span.since_start(step) / period)


def linear(
    span: Span,
    *,
    start_factor: float = 1.0,
    end_factor: float = 0.0,
    duration: float | None = None,
) -> Curve:
    """A straight line from `start_factor` to `end_factor` over `duration` (None: the whole run)."""
    progress = span.progress(duration)
    return lambda step: start_factor + (end_factor - start_factor) * progress(step)


def polynomial(
    span: Span, *, power: float = 1.0, end_factor: float = 0.0, duration: float | None = None
) -> Curve:
    """(1 - progress) ** power, scaled to end at `end_factor`."""
    progress = span.progress(duration)
    return lambda step: end_factor + (1.0 - end_factor) * (1.0 - progress(step)) ** power


def cosine(span: Span, *, end_factor: float = 0.0, duration: float | None = None) -> Curve:
    """Half a cosine from 1 to `end_factor` (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""
    progress = span.progress(duration)
    return lambda step: end_factor + (1.0 - end_factor) * _half_cosine(progress(step))


def cosine_restarts(
    span: Span, *, first: float, multiplier: float = 1.0, end_factor: float = 0.0
) -> Curve:
    """Half cosines one after another: `first` long, each `multiplier` times the one before.

    Loshchilov & Hutter 2017 (arXiv:1608.03983).
    """
    period = span.period("first", first)
    if not multiplier >= 1:
        raise ValueError(f"multiplier: a number >= 1 is needed, got {multiplier!r}.")
    last = span.total_steps - 1 - span.start
    starts, lengths = [0], [period]
    while multiplier > 1 and starts[-1] + lengths[-1] <= last:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(round(period * multiplier ** len(lengths)))

    def curve(step: jax.Array) -> jax.Array:
        since = jnp.clip(step - span.start, 0, last)
        cycle = jnp.searchsorted(jnp.asarray(starts), since, side="right") - 1
        length = jnp.asarray(lengths)[cycle]
        progress = (since - jnp.asarray(starts)[cycle]) % length / length
        return end_factor + (1.0 - end_factor) * _half_cosine(progress)

    return curve


def cyclic(
    span: Span,
    *,
    up: float,
    down: float | None = None,
    low_factor: float = 0.1,
    decay: str = "none",
    factor: float = 1.0,
) -> Curve:
    """Triangles from `low_factor` to 1 and back (Smith 2017, https://arxiv.org/abs/1506.01186).

    `up` and `down` (None: as long as up) are durations. Their height stays ("none"), halves with
    each cycle ("halve", the paper's triangular2) or falls by `factor` each step ("exponential").
    """
    if decay not in ("none", "halve", "exponential"):
        raise ValueError(unknown("decay", decay, ("none", "halve", "exponential")))
    rise = span.period("up", up)
    fall = rise if down is None else span.period("down", down)

    def curve(step: jax.Array) -> jax.Array:
        since = span.since_start(step)
        cycle, position = since // (rise + fall), since % (rise + fall)
        height = jnp.minimum(position / rise, (rise + fall - position) / fall)
        if decay == "halve":
            height = height * 0.5 ** cycle.astype(float)
        elif decay == "exponential":
            height = height * factor ** since.astype(float)
        return low_factor + (1.0 - low_factor) * height

    return curve


def one_cycle(
    span: Span,
    *,
    pct_start: float = 0.3,
    anneal: str = "cosine",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Curve:
    """Up from 1 / `div_factor` to 1 in `pct_start` of the run, then down (Smith & Topin 2018).

    https://arxiv.org/abs/1708.07120, as PyTorch's OneCycleLR has it: the end is the beginning /
    `final_div_factor`; `three_phase` falls back to the beginning first, as fast as it rose.
    """
    problems = []
    if anneal not in ("cosine", "linear"):
        problems.append(unknown("anneal", anneal, ("cosine", "linear")))
    if not 0 < pct_start < (0.5 if three_phase else 1):
        limit = "0.5 with three_phase" if three_phase else "1"
        problems.append(f"pct_start: a number between 0 and {limit} is needed, got {pct_start!r}.")
    if not (div_factor > 0 and final_div_factor > 0):
        problems.append("div_factor, final_div_factor: numbers above 0 are needed.")
    if problems:
        raise ValueError("\n".join(problems))

    low, last = 1.0 / div_factor, 1.0 / div_factor / final_div_factor
    top, end = pct_start * span.total_steps - 1, span.total_steps - 1
    knots, values = [0.0, top, end], [low, 1.0, last]
    if three_phase:
        knots, values = [0.0, top, 2 * top, end], [low, 1.0, low, last]

    def curve(step: jax.Array) -> jax.Array:
        factor = jnp.full_like(step, last, float)
        for i in reversed(range(len(knots) - 1)):
            length = max(knots[i + 1] - knots[i], 1e-9)  # a run may be too short for a phase
            progress = jnp.clip((step - knots[i]) / length, 0.0, 1.0)
            if anneal == "cosine":
                progress = 1.0 - _half_cosine(progress)
            value = values[i] + (values[i + 1] - values[i]) * progress
            factor = jnp.where(step <= knots[i + 1], value, factor)
        return factor

    return curve


def plateau(span: Span, **options: Any) -> Curve:
    """1: the loop lowers it by the scale that `plateau.ReduceOnPlateau(**options)` decides."""
    ReduceOnPlateau(**options)  # its errors belong here
    return constant(span)


SCHEDULES: Mapping[str, Callable[..., Curve]] = {
    "constant": constant,
    "step": step,
    "piecewise": piecewise,
    "exponential": exponential,
    "linear": linear,
    "polynomial": polynomial,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "cyclic": cyclic,
    "one_cycle": one_cycle,
    "plateau": plateau,
}


def unknown(field: str, name: Any, valid: Iterable[str]) -> str:
    """One line that says what `field` got, the nearest valid name, and all of them."""
    valid = list(valid)
    nearest = difflib.get_close_matches(str(name), valid, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{field}: unknown name {name!r}.{hint} Valid: {', '.join(map(repr, valid))}."


def option_problems(
    what: str, function: Callable[..., Any], options: Mapping[str, Any], given: Sequence[str] = ()
) -> list[str]:
    """Options that `function` does not take, or not of that type, and those it needs; a line each.

    `given` are the parameters that are not the user's to give.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in given
    }
    problems = []
    for name in options:
        if name not in parameters:
            nearest = difflib.get_close_matches(str(name), list(parameters), n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            takes = f"It takes: {', '.join(parameters)}." if parameters else "It takes none."
            problems.append(f"{what} has no option {name!r}.{hint} {takes}")
        elif not is_bearable(options[name], parameters[name].annotation, conf=_TYPES):
            hint = inspect.formatannotation(parameters[name].annotation)
            problems.append(f"{what}: {name}={options[name]!r} is not of type {hint}.")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            problems.append(f"{what} needs the option {name!r}.")
    return problems


def _half_cosine(progress: jax.Array) -> jax.Array:
    """From 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
