"""YOLOv2 (Redmon & Farhadi 2016, "YOLO9000: better, faster, stronger",
https://arxiv.org/abs/1612.08242, sections 2 and 3): anchors on a grid of stride 32.

At 416 pixels and 20 classes the output is 13x13x125: 5 anchors of 25 numbers. With darknet19 and
80 classes 50,962,889 parameters, and 20,672 statistics.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.backbone_maps import select_maps
from cvjax.nn.conv import Conv
from cvjax.nn.conv_norm import ConvNorm

_leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
# The authors' yolov2.cfg, found by k-means on COCO; in pixels of a grid of stride 32.
_COCO = (
    (18.33, 21.68), (59.98, 66.00), (106.83, 175.18), (252.25, 112.89), (312.66, 293.38),
)  # fmt: skip


class YoloV2(nn.Module):
    """Raw codes of every anchor of every cell: ({"grids", "anchors"}, features).

    `outputs["grids"]` is a tuple of one [B, H, W, A, 5 + K] as `cvjax.ops.yolo.activate_anchors`
    reads it, `outputs["anchors"]` a tuple of one [A, 2] (width, height) in pixels.

    Three 3x3 convolutions of `width` channels on the backbone's map of stride `strides[1]`, before
    the last of which comes, where `passthrough` is not 0, the map of stride `strides[0]`, twice as
    fine: `passthrough` channels of it, four pixels side by side. A 1x1 convolution gives the
    output.
    `backbone`: a classifier without a head, by name or dict(name=..., its fields).

    Raises:
        ValueError: if the backbone lacks a map.
    """

    num_classes: int
    backbone: nn.Module
    strides: tuple[int, int] = (16, 32)
    anchors: tuple[tuple[float, float], ...] = _COCO
    width: int = 1024
    passthrough: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        _, features = self.backbone(image, train=train)
        fine, coarse = select_maps(features, self.strides)
        conv = functools.partial(ConvNorm, activation=_leaky, dtype=self.dtype)
        x = conv(self.width, window=3, name="conv1")(coarse, train=train)
        x = conv(self.width, window=3, name="conv2")(x, train=train)
        if self.passthrough:
            y = conv(self.passthrough, name="passthrough")(fine, train=train)
            x = jnp.concatenate([_side_by_side(y, x.shape[1:3]), x], axis=-1)
        x = conv(self.width, window=3, name="conv3")(x, train=train)
        codes = 5 + self.num_classes
        # float32 whatever the compute type: scores and boxes are made of it.
        output = Conv(
            len(self.anchors) * codes,
            (1, 1),
            kernel_init=nn.initializers.normal(0.01),
            dtype=jnp.float32,
            name="output",
        )
        grid = output(x).reshape(*x.shape[:3], len(self.anchors), codes)
        anchors = jnp.asarray(self.anchors, jnp.float32)
        return {"grids": (grid,), "anchors": (anchors,)}, {f"stride{self.strides[1]}": x}


def _side_by_side(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Array:
    """Each 2x2 pixels of `x` as one of four times the channels; zeros fill an odd edge."""
    rows, columns = shape
    x = jnp.pad(x, ((0, 0), (0, 2 * rows - x.shape[1]), (0, 2 * columns - x.shape[2]), (0, 0)))
    x = x.reshape(len(x), rows, 2, columns, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(len(x), rows, columns, -1)


VARIANTS = {"yolo_v2": (YoloV2, {"backbone": "darknet19"})}
