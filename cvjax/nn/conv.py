"""Convolution layer: Flax's, with cases that are fast on CPUs."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import lax
from jaxtyping import Array

from cvjax.ops.channel_products import pointwise_conv
from cvjax.ops.depthwise import depthwise_conv
from cvjax.ops.grouped import grouped_conv
from cvjax.ops.window_conv import window_conv


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
    if all(d == 1 for d in lhs_dilation) and precision is None:
        if feature_group_count > 1:
            depthwise = feature_group_count == kernel.shape[-1] == x.shape[-1]
            convolve = depthwise_conv if depthwise else grouped_conv
            return convolve(x, kernel, stride=strides, padding=padding, dilation=rhs_dilation)
        if jax.default_backend() == "cpu":
            if _is_pointwise(kernel, padding):
                return pointwise_conv(x, kernel, stride=strides)
            return window_conv(x, kernel, stride=strides, padding=padding, dilation=rhs_dilation)
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


def _is_pointwise(kernel: Array, padding: str | Sequence[tuple[int, int]]) -> bool:
    # "SAME" pads nothing where a window is a single place.
    padded = not isinstance(padding, str) and any(low or high for low, high in padding)
    return all(n == 1 for n in kernel.shape[:-2]) and not padded


class Conv(nn.Conv):
    """`flax.linen.Conv` with the same fields, parameters and results.

    Where every channel has a window of its own (`feature_group_count` = channels in = channels
    out), it is `cvjax.ops.depthwise.depthwise_conv`, other groups are
    `cvjax.ops.grouped.grouped_conv`; on a CPU windows of 1x1 are
    `cvjax.ops.channel_products.pointwise_conv` and others `cvjax.ops.window_conv.window_conv`: all
    faster on a CPU, in training above all.
    """

    conv_general_dilated: Any = _convolve
