"""What an option of an augmentation may be, and errors that name the option and the limit."""

import math
from collections.abc import Sequence

Number = float | int
Interval = Number | Sequence[Number]  # (low, high), or one number; each function says what it means


def check_number(
    name: str, value: Number, *, low: Number = -math.inf, high: Number = math.inf
) -> float:
    """`value` as a float.

    Raises:
        ValueError: where it is no finite number in [low, high]; the message calls it `name`.
    """
    if isinstance(value, bool) or not isinstance(value, Number) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number.")
    if not low <= value <= high:
        limits = (
            f"in [{low:g}, {high:g}]"
            if math.isfinite(low) and math.isfinite(high)
            else (f"at least {low:g}" if math.isfinite(low) else f"at most {high:g}")
        )
        raise ValueError(f"{name}={value!r} must be {limits}.")
    return float(value)


def check_interval(
    name: str, value: Interval, *, low: Number = -math.inf, high: Number = math.inf
) -> tuple[float, float]:
    """`value` as (low, high); a single number a is (a, a).

    Raises:
        ValueError: where it is no pair of numbers in rising order within [low, high].
    """
    pair = (value, value) if isinstance(value, Number) else value
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"{name}={value!r} must be a number or a pair (low, high).")
    first, last = (check_number(name, v, low=low, high=high) for v in pair)
    if first > last:
        raise ValueError(f"{name}={value!r} must rise from low to high.")
    return first, last


def check_symmetric(name: str, value: Interval, *, limit: Number = math.inf) -> tuple[float, float]:
    """`value` as (low, high); a single number a is (-a, a).

    Raises:
        ValueError: where a single number is negative or a bound leaves [-limit, limit].
    """
    if isinstance(value, Number):
        check_number(name, value, low=0.0, high=limit)
        value = (-value, value)
    return check_interval(name, value, low=-limit, high=limit)
