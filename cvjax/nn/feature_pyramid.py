"""Feature pyramid: maps of all scales that are equally wide and know what the coarser ones saw."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv


class FeaturePyramid(nn.Module):
    """1x1 convolutions, a path from coarse to fine, 3x3 convolutions (Lin et al. 2016, fig. 3).

    https://arxiv.org/abs/1612.03144. Maps go in from fine to coarse and come out likewise, all
    `width` channels. The `extra` coarser ones behind them are 3x3 convolutions of stride 2, each
    of the map before it, from the second on behind a ReLU.
    Differs from RetinaNet's paper: the first extra map (P6) is made of the pyramid's last one,
    not of the backbone's, as in torchvision's retinanet_resnet50_fpn.
    """

    width: int = 256
    extra: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: list[Float[Array, "b _h _w _c"]]) -> list[Float[Array, "b _h _w d"]]:
        lateral = [self._conv(1, f"lateral{i + 1}")(x) for i, x in enumerate(maps)]
        for i in reversed(range(len(maps) - 1)):
            coarse = enlarge_nearest(lateral[i + 1], lateral[i].shape[1:3])
            lateral[i] = lateral[i] + coarse
        found = [self._conv(3, f"output{i + 1}")(x) for i, x in enumerate(lateral)]
        for i in range(self.extra):
            x = found[-1] if i == 0 else nn.relu(found[-1])
            found.append(self._conv(3, f"extra{i + 1}", stride=2)(x))
        return found

    def _conv(self, window: int, name: str, stride: int = 1) -> nn.Conv:
        return Conv(
            self.width,
            (window, window),
            strides=stride,
            padding=window // 2,
            kernel_init=nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
            dtype=self.dtype,
            name=name,
        )


def enlarge_nearest(
    x: Float[Array, "b _h _w c"], shape: tuple[int, int]
) -> Float[Array, "b _h2 _w2 c"]:
    """`x` as a map of `shape` (h, w): place i shows floor(i * old / new), as in PyTorch."""
    for axis, size in zip((1, 2), shape, strict=True):
        old = x.shape[axis]
        if size % old == 0:
            # Side by side: the gradient adds slices. That of a repetition is a sum over an axis of
            # two, for which a CPU takes ten times as long.
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            x = jnp.stack([x] * (size // old), axis=axis + 1).reshape(shape)
        else:
            x = jnp.take(x, np.arange(size) * old // size, axis=axis)
    return x
