"""Arrays of a checkpoint for a model of other sizes: by a rule's word alone, never silently.

A rule of `train.init_rules` may name one of CONVERTERS as its third part:

    (".*position_embedding", r"\\g<0>", "position_table")   # images of another size
    ("stem_conv/kernel", r"\\g<0>", "input_channels")       # grey images, or more than three
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cvjax.pretrained.position_tables import resize_grid

Shape = tuple[int, ...]
_MOST_TOKENS = 2  # class and distillation


@dataclass(frozen=True)
class Converter:
    """How arrays of one kind change their shape.

    Attributes:
        problem: (source's shape, target's) -> why it can't be done, "" where it can.
        convert: (array, target's shape) -> array of that shape.
    """

    problem: Callable[[Shape, Shape], str]
    convert: Callable[[np.ndarray, Shape], np.ndarray]


def _position_problem(source: Shape, target: Shape) -> str:
    tables = [len(shape) == 3 and shape[0] == 1 for shape in (source, target)]
    if not all(tables) or source[2] != target[2]:
        return "a position table is [1, positions, width], of one width in both"
    if _tokens(source[1]) is None or _tokens(source[1]) != _tokens(target[1]):
        return "positions must be a square map and the same 0, 1 or 2 tokens before it"
    return ""


def _tokens(positions: int) -> int | None:
    tokens = positions - math.isqrt(positions) ** 2
    return tokens if tokens <= _MOST_TOKENS else None


def _position_table(table: np.ndarray, target: Shape) -> np.ndarray:
    return resize_grid(table, math.isqrt(target[1]))


def _channels_problem(source: Shape, target: Shape) -> str:
    if len(source) != 4 or len(target) != 4:
        return "a convolution's kernel is [height, width, channels in, channels out]"
    if (source[:2], source[3]) != (target[:2], target[3]):
        return "only the channels that go in may differ"
    return ""


def _input_channels(kernel: np.ndarray, target: Shape) -> np.ndarray:
    """Summed for grey images, whose response stays; else repeated or cut and scaled, as timm's."""
    have, wanted = kernel.shape[2], target[2]
    if wanted == 1:
        return kernel.sum(axis=2, keepdims=True)
    taken = kernel[:, :, np.arange(wanted) % have]
    return (taken * np.float32(have / wanted)).astype(kernel.dtype)


CONVERTERS: Mapping[str, Converter] = {
    "position_table": Converter(_position_problem, _position_table),
    "input_channels": Converter(_channels_problem, _input_channels),
}
