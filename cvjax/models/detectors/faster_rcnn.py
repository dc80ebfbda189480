"""Faster R-CNN (Ren et al. 2015, https://arxiv.org/abs/1506.01497): a network that proposes regions
and a second stage that looks at each of them.

fasterrcnn_resnet50_fpn is torchvision's, on a feature pyramid (Lin et al. 2016,
https://arxiv.org/abs/1612.03144); 41,808,406 parameters at 90 classes and the background.
fasterrcnn_resnet50_c4 has one map and the last stage of the backbone as its second stage
(He et al. 2015, https://arxiv.org/abs/1512.03385, appendix A). Any backbone of the zoo will do:

    create("fasterrcnn", num_classes=10, backbone=dict(name="resnet18", width=32), width=64)

A two-stage detector has two methods. The model itself says what the first stage finds, raw; what
the second stage says about given boxes is

    model.apply(variables, features, boxes, train=..., method="box_outputs")

so that a task may choose the boxes: samples of the proposals in training, all of them in
prediction (`cvjax.tasks.two_stage_detection`). `init` makes the variables of both.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.backbone_maps import select_maps
from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.feature_pyramid import FeaturePyramid
from cvjax.ops.anchors import grid_anchors
from cvjax.ops.roi import assign_levels, roi_align

# Ren et al., section 3.1.3; Girshick 2015, https://arxiv.org/abs/1504.08083, section 2.3.
_OUTPUT = nn.initializers.normal(0.01)
_BOX_OUTPUT = nn.initializers.normal(0.001)
_HIDDEN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_CANONICAL_LEVEL = 4  # P4, of stride 16, which regions of `canonical_size` read


class FasterRCNN(nn.Module):
    """Regions from every level of a pyramid, two dense layers for each region.

    The first stage's `outputs` are, one map a level from fine to coarse: `objectness`, logits
    [B, H, W, A]; `box_codes` [B, H, W, A, 4] as `cvjax.ops.box_coding` reads them; and `anchors`
    [N, 4], those of all levels one after the other. `features` are the pyramid's maps, "level1"
    the finest.

    `backbone`: a classifier without a head, by name or dict(name=..., its fields).
    `strides`: its maps that enter the pyramid, which regions are read from; one map, every second
    pixel of the last, follows for the proposals alone.
    `anchor_sizes`: sides of the square anchors of each level, one level more than `strides`,
    pixels; `aspects` are height over width.
    `roi_size`, `roi_samples`, `roi_aligned`: as `cvjax.ops.roi.roi_align` takes them; a region of
    `canonical_size` pixels reads the map of stride 16, or what is next to it.
    `hidden`: width of the second stage's dense layers.

    Raises:
        ValueError: if the backbone lacks a map, `strides` do not double from one to the next, or
            `anchor_sizes` are not one a level.
    """

    num_classes: int
    backbone: nn.Module
    strides: tuple[int, ...] = (4, 8, 16, 32)
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    aspects: tuple[float, ...] = (0.5, 1.0, 2.0)
    width: int = 256
    roi_size: int = 7
    roi_samples: int = 2
    roi_aligned: bool = False
    canonical_size: float = 224.0
    hidden: int = 1024
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.pyramid = FeaturePyramid(self.width, dtype=self.dtype)
        self.proposal_head = ProposalHead(
            len(self.aspects) * len(self.anchor_sizes[0]), dtype=self.dtype
        )
        self.fc1 = Dense(self.hidden, kernel_init=_HIDDEN, dtype=self.dtype)
        self.fc2 = Dense(self.hidden, kernel_init=_HIDDEN, dtype=self.dtype)
        self.box_head = BoxHead(self.num_classes)

    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        if len(self.anchor_sizes) != len(self.strides) + 1:
            raise ValueError(
                f"model.anchor_sizes has {len(self.anchor_sizes)} entries for {self.strides} and "
                "one level more. Give one a level."
            )
        if any(2 * a != b for a, b in zip(self.strides, self.strides[1:])):
            raise ValueError(f"model.strides={self.strides}: each must be twice the one before.")
        _, found = self.backbone(image, train=train)
        maps = self.pyramid(select_maps(found, self.strides))
        maps.append(maps[-1][:, ::2, ::2])
        outputs = _first_stage(self.proposal_head, image, maps, self.anchor_sizes, self.aspects)
        features = {f"level{i}": x for i, x in enumerate(maps, start=1)}
        if self.is_initializing():
            self.box_outputs(features, _any_boxes(image), train=train)
        return outputs, features

    def box_outputs(
        self, features: dict[str, Array], boxes: Float[Array, "b p 4"], *, train: bool
    ) -> dict[str, Array]:
        """`class_logits` [B, P, K + 1], background first, and `box_codes` [B, P, K + 1, 4].

        `features` are those of the first stage, `boxes` are in pixels; a box of zeros is harmless.
        """
        del train
        maps = [features[f"level{i}"] for i in range(1, len(self.strides) + 1)]
        x = _regions(self, maps, boxes, self.strides).reshape(*boxes.shape[:2], -1)
        x = nn.relu(self.fc2(nn.relu(self.fc1(x))))
        return self.box_head(x)


class FasterRCNNC4(nn.Module):
    """Regions from one map, a stage of a network for each region: no pyramid.

    `outputs` and `features` as FasterRCNN's, of one level.
    `backbone`: a classifier without a head whose map of `stride` is read; what it has behind that
    map is not computed.
    `region_network`: a classifier without a head that takes pieces of that map, such as
    dict(name="resnet50", stem="none", width=512, stage_sizes=(3,)), the last stage of resnet50; it
    says "pooled".
    Differs from ResNet's paper, as Mask R-CNN's does (https://arxiv.org/abs/1703.06870, fig. 4):
    the stage has stride 1 on 7x7 instead of 2 on 14x14.
    """

    num_classes: int
    backbone: nn.Module
    region_network: nn.Module
    stride: int = 16
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    aspects: tuple[float, ...] = (0.5, 1.0, 2.0)
    roi_size: int = 7
    roi_samples: int = 2
    roi_aligned: bool = True
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.proposal_head = ProposalHead(
            len(self.aspects) * len(self.anchor_sizes), dtype=self.dtype
        )
        self.box_head = BoxHead(self.num_classes)

    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        _, found = self.backbone(image, train=train)
        maps = select_maps(found, (self.stride,))
        sizes = (self.anchor_sizes,)
        outputs = _first_stage(self.proposal_head, image, maps, sizes, self.aspects)
        features = {"level1": maps[0]}
        if self.is_initializing():
            self.box_outputs(features, _any_boxes(image), train=train)
        return outputs, features

    def box_outputs(
        self, features: dict[str, Array], boxes: Float[Array, "b p 4"], *, train: bool
    ) -> dict[str, Array]:
        """As FasterRCNN's."""
        regions = _regions(self, [features["level1"]], boxes, (self.stride,))
        flat = regions.reshape(-1, *regions.shape[2:])  # [B P, 7, 7, C]
        _, found = self.region_network(flat, train=train)
        return self.box_head(found["pooled"].reshape(*boxes.shape[:2], -1))


class ProposalHead(nn.Module):
    """3x3 convolution, ReLU, and two 1x1 ones, the same for all levels: logits and codes."""

    anchors: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w a"], Float[Array, "b h w a 4"]]:
        y = Conv(
            x.shape[-1], (3, 3), padding=1, kernel_init=_HIDDEN, dtype=self.dtype, name="conv"
        )(x)
        y = nn.relu(y)
        # float32 whatever the compute type: scores and boxes are made of it.
        fields = {"kernel_init": _OUTPUT, "dtype": jnp.float32}
        logits = Conv(self.anchors, (1, 1), name="objectness", **fields)(y)
        codes = Conv(4 * self.anchors, (1, 1), name="box_codes", **fields)(y)
        return logits, codes.reshape(*codes.shape[:3], self.anchors, 4)


class BoxHead(nn.Module):
    """A logit and a box code for each class and, first, the background, whose code is idle."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b p d"]) -> dict[str, Array]:
        outputs = self.num_classes + 1
        classes = Dense(outputs, kernel_init=_OUTPUT, dtype=jnp.float32, name="class_logits")
        codes = Dense(4 * outputs, kernel_init=_BOX_OUTPUT, dtype=jnp.float32, name="box_codes")
        return {
            "class_logits": classes(x),
            "box_codes": codes(x).reshape(*x.shape[:2], outputs, 4),
        }


def _first_stage(
    head: ProposalHead,
    image: Array,
    maps: list[Array],
    sizes: tuple[tuple[float, ...], ...],
    aspects: tuple[float, ...],
) -> dict[str, Any]:
    logits, codes = zip(*(head(x) for x in maps))
    shapes = [x.shape[1:3] for x in maps]
    anchors = grid_anchors(image.shape[1:3], shapes, sizes=sizes, aspects=[aspects] * len(maps))
    return {"objectness": logits, "box_codes": codes, "anchors": anchors}


def _regions(
    model: FasterRCNN | FasterRCNNC4, maps: list[Array], boxes: Array, strides: tuple[int, ...]
) -> Float[Array, "b p q q c"]:
    """What `maps` show in each of the boxes."""
    finest, coarsest = strides[0].bit_length() - 1, strides[-1].bit_length() - 1

    def of_image(maps: list[Array], boxes: Array) -> Array:
        levels = None
        if len(maps) > 1:
            levels = assign_levels(
                boxes,
                lowest=finest,
                highest=coarsest,
                canonical_size=model.canonical_size,
                canonical_level=_CANONICAL_LEVEL,
            )
        return roi_align(
            maps,
            boxes,
            levels,
            output=(model.roi_size, model.roi_size),
            scales=[1 / s for s in strides],
            samples=model.roi_samples,
            aligned=model.roi_aligned,
        )

    return jax.vmap(of_image)(maps, boxes)


def _any_boxes(image: Array) -> Array:
    """One region an image, of which the second stage's variables get their shapes."""
    height, width = image.shape[1:3]
    return jnp.tile(jnp.array([[[0, 0, width, height]]], jnp.float32), (len(image), 1, 1))


VARIANTS = {
    "fasterrcnn": (FasterRCNN, {"backbone": "resnet50"}),
    "fasterrcnn_resnet50_fpn": (FasterRCNN, {"backbone": "resnet50"}),
    "fasterrcnn_resnet50_c4": (
        FasterRCNNC4,
        {
            "backbone": {"name": "resnet50", "stage_sizes": (3, 4, 6)},
            "region_network": {
                "name": "resnet50", "stem": "none", "width": 512, "stage_sizes": (3,),
            },
        },
    ),
}  # fmt: skip
