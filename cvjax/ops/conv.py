"""The arithmetic of convolution and pooling layers: sizes, parameters, multiply-adds, what a
unit sees (Dumoulin & Visin 2016, https://arxiv.org/abs/1603.07285).

Sizes are along one axis. `window` is the filter's side, F in the formulas.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sliding:
    """One layer that slides a window along an axis: a convolution or a pooling."""

    window: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


@dataclass(frozen=True)
class ReceptiveField:
    """What a unit of a map sees of the input, along one axis, in pixels.

    `size` of the region, `jump` from a unit's region to its neighbour's, `start` of the first
    unit's region (negative where it begins in the padding).
    """

    size: int
    jump: int
    start: int


def output_size(
    size: int, *, window: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """floor((size + 2 padding - dilation (window - 1) - 1) / stride) + 1.

    Raises:
        ValueError: if the window does not fit into the padded input.
    """
    room = size + 2 * padding - dilation * (window - 1) - 1
    if room < 0:
        raise ValueError(
            f"a window of {dilation * (window - 1) + 1} does not fit {size} pixels "
            f"with {padding} of padding on each side"
        )
    return room // stride + 1


def same_padding(window: int, *, dilation: int = 1) -> int:
    """The padding on each side that keeps the size at stride 1: dilation (window - 1) / 2.

    Raises:
        ValueError: if that is no integer; an even window cannot be centred.
    """
    twice = dilation * (window - 1)
    if twice % 2:
        raise ValueError(f"no equal padding on both sides keeps the size with a window of {window}")
    return twice // 2


def conv_parameters(
    window: int, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = True
) -> int:
    """F F C K / groups weights and K biases. Pooling and flattening have none."""
    _check_groups(in_channels, out_channels, groups)
    return window * window * in_channels // groups * out_channels + bias * out_channels


def dense_parameters(in_features: int, out_features: int, *, bias: bool = True) -> int:
    """(in + 1) out with biases."""
    return (in_features + bias) * out_features


def conv_multiply_adds(
    height: int, width: int, window: int, in_channels: int, out_channels: int, *, groups: int = 1
) -> int:
    """Multiplications of one image, biases aside; `height` and `width` are the output's."""
    weights = conv_parameters(window, in_channels, out_channels, groups=groups, bias=False)
    return height * width * weights


def receptive_field(layers: Iterable[Sliding]) -> ReceptiveField:
    """What a unit behind `layers`, given from the input on, sees of the input."""
    size, jump, start = 1, 1, 0
    for layer in layers:
        size += layer.dilation * (layer.window - 1) * jump
        start -= layer.padding * jump
        jump *= layer.stride
    return ReceptiveField(size, jump, start)


def _check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    if in_channels % groups or out_channels % groups:
        raise ValueError(f"{groups} groups do not divide {in_channels} -> {out_channels} channels")
