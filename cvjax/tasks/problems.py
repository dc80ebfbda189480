"""What is wrong with a task's options: all of it in one error, a sentence each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def raise_problems(problems: Iterable[str]) -> None:
    """Nothing where there are none.

    Raises:
        ValueError: a line each.
    """
    problems = list(problems)
    if problems:
        raise ValueError("\n".join(problems))


def range_problems(
    task: Any,
    *,
    weights: Sequence[str] = (),
    shares: Sequence[str] = (),
    counts: Sequence[str] = (),
) -> Iterator[str]:
    """What is wrong with options of `task`: negative weights, shares outside of [0, 1], counts
    below 1.
    """
    for name in weights:
        if getattr(task, name) < 0:
            yield f"task.{name}: got {getattr(task, name)}, expected no negative value."
    for name in shares:
        if not 0 <= getattr(task, name) <= 1:
            yield f"task.{name}: got {getattr(task, name)}, expected a value in [0, 1]."
    for name in counts:
        if getattr(task, name) < 1:
            yield f"task.{name}: got {getattr(task, name)}, expected at least 1."
