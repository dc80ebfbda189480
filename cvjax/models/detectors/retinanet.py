"""RetinaNet (Lin et al. 2017, "Focal loss for dense object detection",
https://arxiv.org/abs/1708.02002): a feature pyramid and two small networks at its every place.

retinanet_resnet50_fpn is torchvision's, 34,068,119 parameters at 91 classes. Any backbone of the
zoo will do:

    create("retinanet", num_classes=10, backbone=dict(name="resnet18", width=32), width=64)
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.backbone_maps import select_maps
from cvjax.nn.conv import Conv
from cvjax.nn.feature_pyramid import FeaturePyramid
from cvjax.nn.norm_kinds import Norm, normalize
from cvjax.ops.anchors import grid_anchors

# Background is nearly everywhere: at first every class has this probability (section 4.1).
PRIOR = 0.01
_SMALL = nn.initializers.normal(0.01)
# Differs from the paper, whose 0.01 fades away within four layers of less than 256 channels.
_TOWER = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class RetinaNet(nn.Module):
    """Classes and box codes for every anchor of every level, raw: (outputs, features).

    `outputs` are one map a level, from fine to coarse: `class_logits`, a tuple of [B, H, W, A, K],
    sigmoids, no background class; `box_codes`, a tuple of [B, H, W, A, 4] as
    `cvjax.ops.box_coding` reads them; and `anchors` [N, 4], those of all levels one after the
    other. `features` are the pyramid's maps, "level1" the finest.

    `backbone`: a classifier without a head, by name or dict(name=..., its fields).
    `strides`: its maps that enter the pyramid; `extra_levels` coarser ones follow.
    `anchor_sizes`: sides of the smallest square anchor a level, in pixels; each level has
    `octave_scales` sizes within the octave, rounded down as in torchvision, times the `aspects`,
    height over width.
    `tower_norm`: between the `tower_depth` convolutions of a head ("none" in the paper).

    Raises:
        ValueError: if the backbone lacks a map, or `anchor_sizes` are not one a level.
    """

    num_classes: int
    backbone: nn.Module
    strides: tuple[int, ...] = (8, 16, 32)
    extra_levels: int = 2
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    octave_scales: int = 3
    aspects: tuple[float, ...] = (0.5, 1.0, 2.0)
    width: int = 256
    tower_depth: int = 4
    tower_norm: Norm = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        levels = len(self.strides) + self.extra_levels
        if len(self.anchor_sizes) != levels:
            raise ValueError(
                f"model.anchor_sizes has {len(self.anchor_sizes)} entries for {levels} levels "
                f"(strides {self.strides}, extra_levels={self.extra_levels}). Give one a level."
            )
        _, features = self.backbone(image, train=train)
        maps = select_maps(features, self.strides)
        pyramid = FeaturePyramid(self.width, self.extra_levels, self.dtype, name="pyramid")(maps)

        per_place = self.octave_scales * len(self.aspects)
        fields = {"depth": self.tower_depth, "norm": self.tower_norm, "dtype": self.dtype}
        class_tower = Tower(self.width, **fields, name="class_tower")
        box_tower = Tower(self.width, **fields, name="box_tower")
        rare = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        class_output = _output(per_place * self.num_classes, bias=rare, name="class_output")
        box_output = _output(per_place * 4, name="box_output")
        logits, codes = [], []
        for x in pyramid:
            place = (*x.shape[:3], per_place)
            y = class_output(class_tower(x, train=train))
            logits.append(y.reshape(*place, self.num_classes))
            codes.append(box_output(box_tower(x, train=train)).reshape(*place, 4))
        sizes = [
            [int(size * 2 ** (i / self.octave_scales)) for i in range(self.octave_scales)]
            for size in self.anchor_sizes
        ]
        anchors = grid_anchors(
            image.shape[1:3],
            [x.shape[1:3] for x in pyramid],
            sizes=sizes,
            aspects=[self.aspects] * levels,
        )
        outputs = {"class_logits": tuple(logits), "box_codes": tuple(codes), "anchors": anchors}
        return outputs, {f"level{i}": x for i, x in enumerate(pyramid, start=1)}


class Tower(nn.Module):
    """`depth` times 3x3 convolution, normalisation if any, ReLU; the same for all levels."""

    width: int
    depth: int
    norm: Norm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w d"]:
        for i in range(1, self.depth + 1):
            x = Conv(
                self.width, (3, 3), padding=1, kernel_init=_TOWER, dtype=self.dtype, name=f"conv{i}"
            )(x)
            x = nn.relu(normalize(x, self.norm, train=train, name=f"norm{i}", dtype=self.dtype))
        return x


def _output(
    channels: int, *, bias: nn.initializers.Initializer = nn.initializers.zeros, name: str
) -> nn.Conv:
    # float32 whatever the compute type: scores and boxes are made of it.
    return Conv(
        channels, (3, 3), padding=1, kernel_init=_SMALL, bias_init=bias, dtype=jnp.float32,
        name=name,
    )  # fmt: skip


VARIANTS = {
    "retinanet": (RetinaNet, {"backbone": "resnet50"}),
    "retinanet_resnet50_fpn": (RetinaNet, {"backbone": "resnet50"}),
}
