"""YOLO and Fast YOLO (Redmon et al. 2015, "You only look once: unified, real-time object
detection", https://arxiv.org/abs/1506.02640): a grid's cells as the outputs of a dense layer.

At 20 classes the output is 7x7x30. yolo_v1 has 24 convolutions and 271,703,550 parameters (fig. 3),
fast_yolo 9 and 45,089,374 (section 2.2; its widths are those of the authors' yolo-tiny.cfg).
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.initializers import LINEAR
from cvjax.nn.norm_kinds import Norm, normalize
from cvjax.ops.pool import max_pool

Layer = tuple[int, int, int]  # channels, window, stride
_leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
_KERNEL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class YoloV1(nn.Module):
    """`{"grid": [B, S, S, 5 num_boxes + K]}` as `cvjax.ops.yolo.split_v1` reads it, and features.

    `stages`: convolutions (channels, window, stride), each with a leaky ReLU of slope 0.1 below
    0; 2x2 max-pools between stages. Then the whole last map, which is the grid, goes through dense
    layers: `bottleneck`, without an activation, where there is one, `hidden`, dropout, the output.
    `width`: a factor for all channels and dense layers. `norm`: behind convolutions ("none" in the
    paper). The dense layers make the size of the image a constant: `image_size`, pixels.

    Raises:
        ValueError: if images have another size.
    """

    num_classes: int
    stages: tuple[tuple[Layer, ...], ...]
    bottleneck: int | None = None
    hidden: int = 4096
    num_boxes: int = 2
    width: float = 1.0
    norm: Norm = "none"
    dropout: float = 0.5
    image_size: int = 448
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        if image.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"images are {image.shape[1:3]}, but model.image_size={self.image_size}: its "
                "dense layers fit one size alone."
            )
        x = image
        for i, layers in enumerate(self.stages, start=1):
            x = max_pool(x, window=2) if i > 1 else x
            for j, (channels, window, stride) in enumerate(layers, start=1):
                name = f"stage{i}_{{}}{j}"
                x = Conv(
                    self._wide(channels),
                    (window, window),
                    strides=stride,
                    padding=window // 2,
                    use_bias=self.norm == "none",
                    kernel_init=_KERNEL,
                    dtype=self.dtype,
                    name=name.format("conv"),
                )(x)
                x = normalize(x, self.norm, train=train, name=name.format("norm"), dtype=self.dtype)
                x = _leaky(x)
        features = {f"stride{self.image_size // x.shape[1]}": x}
        rows, columns = x.shape[1:3]
        x = x.reshape(len(x), -1)
        dense = functools.partial(nn.Dense, kernel_init=_KERNEL, dtype=self.dtype)
        if self.bottleneck is not None:
            x = dense(self._wide(self.bottleneck), name="bottleneck")(x)
        x = _leaky(dense(self._wide(self.hidden), name="hidden")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        cell = 5 * self.num_boxes + self.num_classes
        # float32 whatever the compute type: scores and boxes are made of it.
        output = Dense(rows * columns * cell, kernel_init=LINEAR, dtype=jnp.float32, name="output")
        return {"grid": output(x).reshape(-1, rows, columns, cell)}, features

    def _wide(self, channels: int) -> int:
        return max(int(channels * self.width), 1)


_YOLO = (
    ((64, 7, 2),),
    ((192, 3, 1),),
    ((128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1)),
    (*((256, 1, 1), (512, 3, 1)) * 4, (512, 1, 1), (1024, 3, 1)),
    (*((512, 1, 1), (1024, 3, 1)) * 2, (1024, 3, 1), (1024, 3, 2), (1024, 3, 1), (1024, 3, 1)),
)
_FAST = (
    *(((channels, 3, 1),) for channels in (16, 32, 64, 128, 256, 512)),
    ((1024, 3, 1),) * 3,
)

VARIANTS = {
    "yolo_v1": (YoloV1, {"stages": _YOLO}),
    "fast_yolo": (YoloV1, {"stages": _FAST, "bottleneck": 256}),
}
