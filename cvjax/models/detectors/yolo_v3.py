"""YOLOv3 (Redmon & Farhadi 2018, "YOLOv3: an incremental improvement",
https://arxiv.org/abs/1804.02767): anchors on three grids, the finer ones told by the coarser.

With darknet53 and 80 classes 61,949,149 parameters, and 52,608 statistics. Any backbone goes:

    create("yolo_v3", num_classes=10, backbone=dict(name="darknet53", width=8), width=64,
           strides=(8, 16), anchors=(((10, 14), ...), ((30, 40), ...)))
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.backbone_maps import select_maps
from cvjax.nn.conv import Conv
from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.feature_pyramid import enlarge_nearest

_leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
# Section 2.3: nine clusters of COCO's boxes at 416 pixels.
_COCO = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


class YoloV3(nn.Module):
    """Raw codes of every anchor of every cell of every grid: ({"grids", "anchors"}, features).

    From fine to coarse: `outputs["grids"]`, a tuple of [B, H, W, A, 5 + K] as
    `cvjax.ops.yolo.activate_anchors` reads it, and `outputs["anchors"]`, a tuple of [A, 2] (width,
    height) in pixels.

    `backbone`: a classifier without a head, by name or dict(name=..., its fields); `strides`: its
    maps that become grids, from fine to coarse, with `anchors` for each.
    `width`: channels in the coarsest grid's 3x3 convolutions, half as many for each finer one.

    Raises:
        ValueError: if the backbone lacks a map or `anchors` are not as many as `strides`.
    """

    num_classes: int
    backbone: nn.Module
    strides: tuple[int, ...] = (8, 16, 32)
    anchors: tuple[tuple[tuple[float, float], ...], ...] = _COCO
    width: int = 1024
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        if len(self.anchors) != len(self.strides):
            raise ValueError(
                f"model.anchors has {len(self.anchors)} entries for strides {self.strides}. Give "
                "the anchors of each."
            )
        _, features = self.backbone(image, train=train)
        maps = select_maps(features, self.strides)
        conv = functools.partial(ConvNorm, activation=_leaky, dtype=self.dtype)
        grids, found, x = [], {}, None
        for i in reversed(range(len(maps))):
            width = self.width // 2 ** (len(maps) - 1 - i)
            number = f"{self.strides[i]}"
            y = maps[i]
            if x is not None:
                x = conv(width // 2, name=f"lateral{number}")(x, train=train)
                y = jnp.concatenate([enlarge_nearest(x, y.shape[1:3]), y], axis=-1)
            for j in range(1, 6):
                wide = j % 2 == 0
                layer = conv(
                    width if wide else width // 2, window=3 if wide else 1,
                    name=f"neck{number}_conv{j}",
                )  # fmt: skip
                y = layer(y, train=train)
            x = y
            y = conv(width, window=3, name=f"head{number}_conv")(y, train=train)
            count, codes = len(self.anchors[i]), 5 + self.num_classes
            # float32 whatever the compute type: scores and boxes are made of it.
            output = Conv(
                count * codes,
                (1, 1),
                kernel_init=nn.initializers.normal(0.01),
                bias_init=_rare(count, codes),
                dtype=jnp.float32,
                name=f"head{number}_output",
            )
            grids.insert(0, output(y).reshape(*y.shape[:3], count, codes))
            found[f"stride{number}"] = x
        anchors = tuple(jnp.asarray(level, jnp.float32) for level in self.anchors)
        return {"grids": tuple(grids), "anchors": anchors}, found


def _rare(count: int, codes: int) -> nn.initializers.Initializer:
    """Most anchors hold nothing: p_c starts at 0.01. Differs from the paper, which says nothing."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        del key
        bias = jnp.zeros((count, codes), dtype).at[:, 0].set(-4.6)
        return bias.reshape(shape)

    return init


VARIANTS = {"yolo_v3": (YoloV3, {"backbone": "darknet53"})}
