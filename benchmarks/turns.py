"""Contenders take turns on one machine, so that what slows it down slows all of them."""

import contextlib
import fcntl
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Run = Callable[[int], None]  # does its work so many times, and returns when it is done


def take_turns(runs: Mapping[str, Run], rounds: int, turn_seconds: float) -> dict[str, list[float]]:
    """Seconds of one time of each contender's work, once a round; the order turns round by round.

    A turn repeats the work for about `turn_seconds`, so that clocks and threads settle, behind one
    time that does not count: whoever comes after another contender first gets memory and caches
    back from it, which nobody pays who runs alone (3 GB of a detector's training step: 7.9 s the
    first time, 5.2 the second, of which 4.2 and 0.1 in the system).
    """
    repeats = {key: max(1, round(turn_seconds / seconds(run, 1))) for key, run in runs.items()}
    times: dict[str, list[float]] = {key: [] for key in runs}
    for index in range(rounds):
        for key in list(runs) if index % 2 == 0 else list(runs)[::-1]:
            runs[key](1)
            times[key].append(seconds(runs[key], repeats[key]) / repeats[key])
    return times


def milliseconds(times: list[float]) -> float:
    """Their median."""
    return round(1000 * statistics.median(times), 2)


def ratios(times: list[float], ours: list[float]) -> list[float]:
    """Round by round: above 1 where ours took less. [] where `times` is."""
    return [theirs / own for theirs, own in zip(times, ours)]


def seconds(run: Run, times: int) -> float:
    """What `times` times take."""
    started = time.perf_counter()
    run(times)
    return time.perf_counter() - started


@contextlib.contextmanager
def alone(lock: Path | None) -> Iterator[None]:
    """Waits for the file's lock and holds it: programs that share it are timed one by one.

    Compiling, which takes many times as long as timing, goes on meanwhile in the others.
    """
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
