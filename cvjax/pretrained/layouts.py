"""How an array lies in PyTorch and in Flax: pairs of functions that undo each other exactly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """`to_ours(to_torch(x))` is `x`, bit for bit; both only move values."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


def transposed(*axes: int) -> Layout:
    """Our axis i is PyTorch's `axes[i]`."""
    back = tuple(int(i) for i in np.argsort(axes))
    return Layout(lambda x: x.transpose(axes), lambda x: x.transpose(back))


SAME = Layout(lambda x: x, lambda x: x)
# [out, in / groups, h, w] <-> [h, w, in / groups, out]; grouped and depthwise ones alike
CONV = transposed(2, 3, 1, 0)
# [out, in] <-> [in, out]
DENSE = transposed(1, 0)
# [out, in, 1, 1] <-> [in, out]: a dense layer of ours that is a 1x1 convolution there
DENSE_AS_CONV = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])


def dense_after_flatten(height: int, width: int) -> Layout:
    """[out, C * H * W] <-> [H * W * C, out]: the first dense layer after a map is flattened."""

    def to_ours(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, height, width).transpose(2, 3, 1, 0).reshape(-1, len(x))

    def to_torch(x: np.ndarray) -> np.ndarray:
        out = x.shape[-1]
        return x.reshape(height, width, -1, out).transpose(3, 2, 0, 1).reshape(out, -1)

    return Layout(to_ours, to_torch)


def natural(leaf: str, ndim: int) -> Layout:
    """What a Flax parameter called `leaf` lies like where a family says nothing else."""
    if leaf == "kernel" and ndim == 4:
        return CONV
    if leaf == "kernel" and ndim == 2:
        return DENSE
    return SAME
