"""What a claim is: rows of an expected figure and the way to get ours; and how it is judged."""

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvjax.vis.records import best_point, is_higher_better, metric_of, series

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "experiments" / "results"

HELD = "held"
DID_NOT_HOLD = "did not hold"
NEEDS_DATA = "needs data"
NOT_RUN = "not run yet"  # none of a row's repetitions, in a result of those that have finished
RELATIONS = ("equals", "at least", "at most")

Value = float | tuple[float, ...]
Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Training:
    """A run of `launch.py`; rows that share one are read from one run."""

    config: str  # path from the repository's root, followed by ":variant=..." if need be
    overrides: tuple[str, ...] = ()  # "--config.optim.lr=0.01"

    def arguments(self, workdir: str) -> list[str]:
        """The command after `python`."""
        return ["launch.py", "--config", self.config, "--workdir", workdir, *self.overrides]


@dataclass(frozen=True)
class Row:
    """One figure of a claim.

    `measure` computes ours in this process, within seconds, from nothing but the code; or, where
    `training` is given, reads it from that run's metrics records. With `repetitions` it is called
    once for each of them, with the records of its runs in order, and ours is the mean.
    `recomputed=False` is for what trains in this process for a minute: a check leaves it alone.
    """

    name: str
    expected: Value
    measure: Callable[..., Value]
    training: Training | None = None
    relation: str = "equals"
    tolerance: float = 0.0
    unit: str = ""  # "accuracy" is shown in percent, anything else behind the figure
    holds: bool = True  # False for a claim that is known to be wrong; `note` says why
    note: str = ""
    repetitions: tuple[tuple[Training, ...], ...] = ()  # one seed each, say
    recomputed: bool = True

    def __post_init__(self) -> None:
        problems = []
        if self.relation not in RELATIONS:
            problems.append(f"relation is {self.relation!r}, expected one of {RELATIONS}")
        if self.relation != "equals" and isinstance(self.expected, tuple):
            problems.append(f"a tuple cannot be {self.relation!r}; use 'equals'")
        if self.tolerance < 0:
            problems.append(f"tolerance is {self.tolerance}, expected 0 or more")
        if self.training is not None and self.repetitions:
            problems.append("it has a training and repetitions; give one of them")
        if not self.holds and not self.note:
            problems.append("a row that is known not to hold needs a note that says why")
        if problems:
            raise ValueError(f"row {self.name!r}: " + "; ".join(problems))

    def verdict(self, ours: Value | None) -> str:
        """HELD or DID_NOT_HOLD for our figure; NEEDS_DATA for None. NaN never holds."""
        if ours is None:
            return NEEDS_DATA
        if self.relation == "equals":
            return HELD if is_within(ours, self.expected, self.tolerance) else DID_NOT_HOLD
        short = self.expected - ours if self.relation == "at least" else ours - self.expected
        return HELD if short <= self.tolerance else DID_NOT_HOLD


@dataclass(frozen=True)
class Claim:
    """A statement with its source and its rows."""

    statement: str
    source: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise ValueError(f"a claim needs rows with different names; twice: {twice}")


def is_within(ours: Value, expected: Value, tolerance: float) -> bool:
    """Whether two figures, or two tuples of them, differ by no more than `tolerance`."""
    one, other = _as_tuple(ours), _as_tuple(expected)
    if len(one) != len(other):
        return False
    return all(abs(a - b) <= tolerance or a == b for a, b in zip(one, other))


def gain(
    name: str,
    repetitions: tuple[tuple[Training, ...], ...],
    measure: Callable[..., float],
    *,
    expected: float = 0.0,
    note: str = "",
    **more: Any,
) -> Row:
    """A row of an accuracy, or of a difference of two, that is to be at least `expected`."""
    return Row(
        name,
        expected,
        measure,
        repetitions=repetitions,
        relation="at least",
        unit="accuracy",
        note=note,
        **more,
    )


def load_claims(names: Sequence[str] = ()) -> dict[str, Claim]:
    """The claims of those names, by default of every file here that defines one.

    Raises:
        ValueError: if there is no such claim; it names those that exist.
    """
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("__"):  # importing __main__ would run it
            continue
        claim = getattr(importlib.import_module(f"experiments.{module.name}"), "CLAIM", None)
        if isinstance(claim, Claim):
            found[module.name] = claim
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ValueError(f"no claim is called {', '.join(unknown)}. There are: {', '.join(found)}")
    return {name: found[name] for name in names or found}


def on_own_data(name: str, path: str) -> tuple[Claim, str]:
    """The claim on class folders at `path`, and a name for it that tells it from the original.

    Raises:
        ValueError: if its file has no function `on_folder`, which makes that claim.
    """
    module = importlib.import_module(f"experiments.{name}")
    if not hasattr(module, "on_folder"):
        raise ValueError(f"{name} runs on its own data alone; drop --data.path.")
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"--data.path: there is no folder {folder}.")
    return module.on_folder(str(folder)), f"{name}-{folder.name}"


def last(name: str) -> Callable[[Records], float]:
    """Reads the last value of `name` from a run's records; NaN where there is none."""

    def read(records: Records) -> float:
        values = series(records, name).values
        return float(values[-1]) if len(values) else math.nan

    return read


def difference(name: str) -> Callable[[Records, Records], float]:
    """Reads the last value of `name` from two runs' records: the first's less the second's."""
    read = last(name)
    return lambda one, other: read(one) - read(other)


def best(name: str) -> Callable[[Records], float]:
    """Reads the best value of `name`; for a split that was used to choose nothing else."""

    def read(records: Records) -> float:
        points = series(records, name)
        found = best_point(points, higher_is_better=is_higher_better(metric_of(name)))
        return math.nan if found is None else found[1]

    return read


def of_stage(name: str, read: Callable[[Records], float]) -> Callable[[Records], float]:
    """`read` of the records that one stage of a run with stages wrote."""
    return lambda records: read([record for record in records if record["stage"] == name])


def training_minutes(records: Records) -> float:
    """Minutes of training as the run's own clock counts them (`elapsed_seconds`)."""
    return last("elapsed_seconds")(records) / 60


def _as_tuple(value: Value) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
