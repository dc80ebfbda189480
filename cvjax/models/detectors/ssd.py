"""SSD (Liu et al. 2016, "SSD: Single Shot MultiBox Detector", https://arxiv.org/abs/1512.02325):
every place of several maps scores and moves default boxes of a few shapes.

ssd300_vgg16 is torchvision's, 35,641,826 parameters at its 91 classes, which are our 90 and the
background, and 8732 default boxes; ssd512_vgg16 is the authors' larger one, 24,564 boxes.
ssdlite320_mobilenet_v3_large, 3,440,060 parameters and 3234 boxes, is torchvision's SSDLite
(Sandler et al. 2018, https://arxiv.org/abs/1801.04381, section 6.2; Howard et al. 2019,
https://arxiv.org/abs/1905.02244, section 6.3). Any backbone of the zoo will do:

    create("ssd", num_classes=10, backbone=dict(name="resnet18", width=32), strides=(8, 16), ...)
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.backbone_maps import select_maps
from cvjax.nn.conv import Conv
from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.l2_scale import L2Scale
from cvjax.ops.anchors import default_boxes
from cvjax.ops.pool import max_pool

_XAVIER = nn.initializers.xavier_uniform()
_SMALL = nn.initializers.normal(0.03)


class Extra(NamedTuple):
    """One map behind the backbone's: 1x1 to `inner` channels, a window to `channels`."""

    inner: int
    channels: int
    window: int = 3
    stride: int = 2
    padding: int = 1


class SSD(nn.Module):
    """Classes and box codes for every default box of every map, raw: (outputs, features).

    `outputs` are one map a level, from fine to coarse: `class_logits`, a tuple of
    [B, H, W, A, 1 + K], whose first column is the background; `box_codes`, a tuple of
    [B, H, W, A, 4], to be read with weights (10, 10, 5, 5); and `anchors` [N, 4], the default boxes
    of all levels one after the other. `features` are the maps, "level1" the finest.

    `backbone`: a classifier without a head, by name or dict(name=..., its fields).
    `strides`: its maps that are used; `extras`: those that follow, as `Extra` says.
    `first_map`: "expansion" takes the finest map from inside the block that leaves its stride, as
    SSDLite does; only backbones that have such a map can.
    `first_scale`: the finest map becomes `L2Scale` of it, starting at this; None leaves it.
    `dense_width`: two convolutions of this width, made of VGG's dense layers, between the
    backbone's last map and its use: 3x3 with dilation 6 behind a 3x3 max-pool, and 1x1.
    `scales`, `aspects`, `steps`: of the default boxes, see `cvjax.ops.anchors.default_boxes`.
    `lite`: extras and heads are depthwise, with normalisation and ReLU6.
    `image_size`: the only side that the extras and steps fit; None takes any.

    Raises:
        ValueError: if the backbone lacks a map, an image has another size, or scales and aspects
            do not fit the number of levels.
    """

    num_classes: int
    backbone: nn.Module
    scales: tuple[float, ...]
    aspects: tuple[tuple[float, ...], ...]
    strides: tuple[int, ...] = (8, 16)
    extras: tuple[tuple[int, ...], ...] = ()
    steps: tuple[float, ...] | None = None
    first_map: Literal["output", "expansion"] = "output"
    first_scale: float | None = None
    dense_width: int | None = None
    lite: bool = False
    image_size: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        size = image.shape[1:3]
        if self.image_size is not None and size != (self.image_size, self.image_size):
            raise ValueError(
                f"model.image_size={self.image_size}, but the images are {size[0]}x{size[1]}. Set "
                f"data.image_size={self.image_size}."
            )
        maps = self._maps(image, train=train)
        levels = len(maps)
        if len(self.aspects) != levels or len(self.scales) != levels + 1:
            raise ValueError(
                f"model: there are {levels} levels (strides {self.strides} and {len(self.extras)} "
                f"extras), but {len(self.aspects)} entries of aspects and {len(self.scales)} of "
                "scales. Give one of aspects a level, and one more of scales."
            )
        logits, codes = [], []
        for i, x in enumerate(maps, start=1):
            boxes = 2 + 2 * len(self.aspects[i - 1])
            for found, columns, name in (
                (logits, self.num_classes + 1, f"class_output{i}"),
                (codes, 4, f"box_output{i}"),
            ):
                y = self._output(x, boxes * columns, name, train=train)
                found.append(y.reshape(*y.shape[:3], boxes, columns))
        anchors = default_boxes(
            size,
            [x.shape[1:3] for x in maps],
            scales=self.scales,
            aspects=self.aspects,
            steps=self.steps,
        )
        outputs = {"class_logits": tuple(logits), "box_codes": tuple(codes), "anchors": anchors}
        return outputs, {f"level{i}": x for i, x in enumerate(maps, start=1)}

    def _maps(self, image: Array, *, train: bool) -> list[Array]:
        _, features = self.backbone(image, train=train)
        maps = select_maps(features, self.strides)
        if self.first_map == "expansion":
            name = f"stride{self.strides[0]}_expanded"
            if name not in features:
                raise ValueError(
                    f"model.first_map='expansion': the backbone has no {name}; it has "
                    f"{sorted(features)}. Use first_map='output' or MobileNet v3's expansions=True."
                )
            maps[0] = features[name]
        if self.first_scale is not None:
            maps[0] = L2Scale(self.first_scale, name="first_scale")(maps[0])
        if self.dense_width is not None:
            x = max_pool(maps[-1], window=3, stride=1, padding=1)
            dilated = {"padding": 6, "kernel_dilation": 6}
            x = nn.relu(self._conv(self.dense_width, 3, "dense1", **dilated)(x))
            maps[-1] = nn.relu(self._conv(self.dense_width, 1, "dense2")(x))
        for i, extra in enumerate(self.extras, start=1):
            block = LiteExtra if self.lite else PlainExtra
            maps.append(block(Extra(*extra), self.dtype, name=f"extra{i}")(maps[-1], train=train))
        return maps

    def _conv(self, channels: int, window: int, name: str, **fields: Any) -> nn.Conv:
        return Conv(
            channels, (window, window), kernel_init=_XAVIER, dtype=self.dtype, name=name, **fields
        )

    def _output(self, x: Array, channels: int, name: str, *, train: bool) -> Array:
        # float32 whatever the compute type: scores and boxes are made of it.
        if not self.lite:
            return Conv(
                channels, (3, 3), padding=1, kernel_init=_XAVIER, dtype=jnp.float32, name=name
            )(x)
        shared = lite_fields(self.dtype)
        depthwise = ConvNorm(x.shape[-1], 3, groups=x.shape[-1], name=f"{name}_depthwise", **shared)
        return Conv(channels, (1, 1), kernel_init=_SMALL, dtype=jnp.float32, name=name)(
            depthwise(x, train=train)
        )


class PlainExtra(nn.Module):
    """1x1 to `inner` channels, a window to `channels`, ReLU behind each."""

    extra: Extra
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        del train
        inner, channels, window, stride, padding = self.extra
        shared = {"kernel_init": _XAVIER, "dtype": self.dtype}
        x = nn.relu(Conv(inner, (1, 1), name="conv1", **shared)(x))
        return nn.relu(
            Conv(
                channels, (window, window), strides=stride, padding=padding, name="conv2", **shared
            )(x)
        )


class LiteExtra(nn.Module):
    """1x1 to `inner` channels, a depthwise window, 1x1 to `channels`; each with norm and ReLU6."""

    extra: Extra
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        inner, channels, window, stride, padding = self.extra
        shared = lite_fields(self.dtype)
        x = ConvNorm(inner, name="reduce", **shared)(x, train=train)
        across = {"stride": stride, "padding": padding, "groups": inner}
        x = ConvNorm(inner, window, name="depthwise", **across, **shared)(x, train=train)
        return ConvNorm(channels, name="expand", **shared)(x, train=train)


def lite_fields(dtype: Any) -> dict[str, Any]:
    """What the ConvNorms of SSDLite have in common; torchvision's momentum 0.03 is our 0.97."""
    return {
        "activation": nn.relu6,
        "kernel_init": _SMALL,
        "momentum": 0.97,
        "epsilon": 1e-3,
        "dtype": dtype,
    }


_VGG16 = {
    "backbone": {"name": "vgg16", "hidden": None, "ceil_pool": True},
    "first_scale": 20.0,
    "dense_width": 1024,
}
VARIANTS = {
    "ssd": (SSD, {"backbone": "resnet50"}),
    # Maps of 38, 19, 10, 5, 3 and 1 places a side.
    "ssd300_vgg16": (
        SSD,
        {
            **_VGG16,
            "extras": ((256, 512), (128, 256), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
            "scales": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
            "aspects": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
            "steps": (8, 16, 32, 64, 100, 300),
            "image_size": 300,
        },
    ),
    # Maps of 64, 32, 16, 8, 4, 2 and 1 places a side, scales of the authors' VOC recipe.
    "ssd512_vgg16": (
        SSD,
        {
            **_VGG16,
            "extras": ((256, 512), (128, 256), (128, 256), (128, 256), (128, 256, 4, 1, 1)),
            "scales": (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
            "aspects": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
            "steps": (8, 16, 32, 64, 128, 256, 512),
            "image_size": 512,
        },
    ),
    # Maps of 20, 10, 5, 3, 2 and 1 places a side.
    "ssdlite320_mobilenet_v3_large": (
        SSD,
        {
            "backbone": {
                "name": "mobilenet_v3_large_reduced",
                "hidden": None,
                "expansions": True,
            },
            "strides": (16, 32),
            "first_map": "expansion",
            "extras": ((256, 512), (128, 256), (128, 256), (64, 128)),
            "scales": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
            "aspects": ((2, 3),) * 6,
            "lite": True,
            "image_size": 320,
        },
    ),
}
