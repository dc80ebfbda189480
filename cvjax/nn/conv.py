"""Convolution layer: Flax's, with a depthwise case that is fast on CPUs."""

from collections.abc import Sequence
from typing import Any

from flax import linen as nn
from jax import lax
from jaxtyping import Array

from cvjax.ops.depthwise import depthwise_conv


def _convolve(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: Any,
    feature_group_count: int,
    precision: Any,
) -> Array:
    channels = x.shape[-1]
    if (
        feature_group_count == kernel.shape[-1] == channels > 1
        and all(d == 1 for d in lhs_dilation)
        and precision is None
    ):
        return depthwise_conv(x, kernel, stride=strides, padding=padding, dilation=rhs_dilation)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )


class Conv(nn.Conv):
    """`flax.linen.Conv` with the same fields, parameters and results.

    Where every channel has a window of its own (`feature_group_count` = channels in = channels
    out), it is `cvjax.ops.depthwise.depthwise_conv`, many times faster on a CPU.
    """

    conv_general_dilated: Any = _convolve
