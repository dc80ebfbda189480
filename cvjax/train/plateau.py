"""Decisions from a watched figure: lower the learning rate, stop early. On the host, no arrays.

The rules are those of PyTorch's ReduceLROnPlateau. A state is a small dict that goes into JSON, so
that a resumed run decides as the uninterrupted one would.
"""

import dataclasses
import math
from typing import Any

State = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Watch:
    """What counts as better: the part that both decisions share.

    `metric` is a name of the evaluation's lines such as "test/loss". A value is better when it
    beats the best one by more than `threshold`: a fraction of the best ("rel") or a difference
    ("abs"). NaN is never better.
    """

    metric: str = "test/loss"
    mode: str = "min"
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            kind = type(self).__name__
            raise ValueError("\n".join(f"{kind}.{problem}" for problem in problems))

    def problems(self) -> list[str]:
        """What is wrong with the options, a line each."""
        problems = []
        if self.mode not in ("min", "max"):
            problems.append(f"mode: 'min' or 'max' is needed, got {self.mode!r}.")
        if self.threshold_mode not in ("rel", "abs"):
            problems.append(
                f"threshold_mode: 'rel' or 'abs' is needed, got {self.threshold_mode!r}."
            )
        if self.patience < 0:
            problems.append(f"patience: at least 0 evaluations are needed, got {self.patience!r}.")
        if not self.threshold >= 0:
            problems.append(f"threshold: a number >= 0 is needed, got {self.threshold!r}.")
        return problems

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether `value` beats `best` by more than the threshold; any number beats None."""
        sign = 1.0 if self.mode == "min" else -1.0
        if best is None:
            return sign * value < math.inf
        margin = self.threshold * best if self.threshold_mode == "rel" else self.threshold
        return value < best - margin if self.mode == "min" else value > best + margin


@dataclasses.dataclass(frozen=True)
class ReduceOnPlateau(Watch):
    """Scale on the learning rate, times `factor` after more than `patience` bad evaluations.

    `cooldown` evaluations after a reduction are not counted as bad. The scale stops at `min_scale`.
    """

    factor: float = 0.1
    cooldown: int = 0
    min_scale: float = 0.0

    def problems(self) -> list[str]:
        """What is wrong with the options, a line each."""
        problems = super().problems()
        if not 0 < self.factor < 1:
            problems.append(f"factor: a number between 0 and 1 is needed, got {self.factor!r}.")
        if self.cooldown < 0:
            problems.append(f"cooldown: at least 0 evaluations are needed, got {self.cooldown!r}.")
        if not 0 <= self.min_scale <= 1:
            problems.append(f"min_scale: a number from 0 to 1 is needed, got {self.min_scale!r}.")
        return problems

    def initial(self) -> State:
        """The state before the first evaluation."""
        return {"scale": 1.0, "best": None, "bad": 0, "cooldown": 0}

    def update(self, state: State, value: float) -> tuple[State, bool]:
        """The state after an evaluation, and whether its "scale" was lowered now."""
        value = float(value)
        better = self.is_better(value, state["best"])
        best = value if better else state["best"]
        bad = 0 if better else state["bad"] + 1
        cooldown = state["cooldown"]
        if cooldown > 0:
            cooldown -= 1
            bad = 0
        scale = state["scale"]
        if bad > self.patience:
            scale = max(scale * self.factor, self.min_scale)
            cooldown = self.cooldown
            bad = 0
        new_state = {"scale": scale, "best": best, "bad": bad, "cooldown": cooldown}
        return new_state, scale < state["scale"]


@dataclasses.dataclass(frozen=True)
class EarlyStopping(Watch):
    """Stop after more than `patience` evaluations in a row that were not better than the best."""

    def initial(self) -> State:
        """The state before the first evaluation."""
        return {"best": None, "bad": 0}

    def update(self, state: State, value: float) -> tuple[State, bool]:
        """The state after an evaluation, and whether to stop now."""
        value = float(value)
        better = self.is_better(value, state["best"])
        new_state = {
            "best": value if better else state["best"],
            "bad": 0 if better else state["bad"] + 1,
        }
        return new_state, new_state["bad"] > self.patience
