"""Residual networks and their plain twins (He et al. 2015, https://arxiv.org/abs/1512.03385).

ImageNet: resnet18/34/50/101/152 and plain18/34 (table 1). CIFAR: resnet20/32/44/56/110 and
plain20/32/44/56/110 (section 4.2: 6n+2 layers, shortcuts without parameters).
Parameters at 1000 classes, as in torchvision: 11,689,512 / 21,797,672 / 25,557,032 / 44,549,160 /
60,192,808. At 10 classes on CIFAR: 269,722 / 464,154 / 658,586 / 853,018 / 1,727,962.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.norm import BatchNorm
from cvjax.ops.pool import global_avg_pool, max_pool

Shortcut = Literal["projection", "pad", "none"]

# Gaussian with variance 2 / fan_out (He et al. 2015, https://arxiv.org/abs/1502.01852, eq. 14).
HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's default for a linear layer; the paper names none.
LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pooling, linear head.

    The first block of every stage but the first halves the map and doubles the width.
    `stem`: "imagenet" = 7x7 stride 2, then 3x3 max-pool stride 2; "cifar" = 3x3 stride 1.
    `shortcut`: where a block changes the shape, "projection" = 1x1 convolution and BN (the
    paper's option B), "pad" = every second pixel and zero channels (option A); "none" = plain.
    `zero_init_residual`: the last norm of a block starts at 0, so that the block starts as the
    identity (Goyal et al. 2017, section 5.1). `remat`: recompute a block in the backward pass
    instead of keeping its inner maps. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    block: Literal["basic", "bottleneck"]
    width: int = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"
    shortcut: Shortcut = "projection"
    zero_init_residual: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        stride = 1
        if self.stem == "imagenet":
            x = _conv(self.width, 7, stride=2, dtype=self.dtype, name="stem_conv")(image)
        else:
            x = _conv(self.width, 3, dtype=self.dtype, name="stem_conv")(image)
        x = BatchNorm(dtype=self.dtype, name="stem_norm")(x, use_running_average=not train)
        x = nn.relu(x)
        if self.stem == "imagenet":
            features["stride2"] = x
            x = max_pool(x, window=3, stride=2, padding=1)
            stride = 4

        block_class = {"basic": BasicBlock, "bottleneck": Bottleneck}[self.block]
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                down = i > 0 and j == 0
                block = block_class(
                    width=self.width * 2**i,
                    stride=2 if down else 1,
                    shortcut=self.shortcut,
                    zero_init_residual=self.zero_init_residual,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = _apply(block, x, train=train, remat=self.remat)
                stride *= 2 if down else 1
            features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = nn.Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features


class BasicBlock(nn.Module):
    """relu(x + conv 3x3 - conv 3x3) with BN after each convolution (fig. 5, left)."""

    width: int
    stride: int
    shortcut: Shortcut
    zero_init_residual: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        frozen = {"use_running_average": not train}
        y = _conv(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm1")(y, **frozen))
        y = _conv(self.width, 3, dtype=self.dtype, name="conv2")(y)
        y = _last_norm(self, "norm2")(y, **frozen)
        return nn.relu(_add_shortcut(self, x, y, train=train))


class Bottleneck(nn.Module):
    """relu(x + conv 1x1 - conv 3x3 - conv 1x1), the last four times as wide (fig. 5, right).

    Differs from the paper: the 3x3 convolution carries the stride, not the first 1x1, as in
    every public set of weights ("v1.5").
    """

    width: int
    stride: int
    shortcut: Shortcut
    zero_init_residual: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        frozen = {"use_running_average": not train}
        y = _conv(self.width, 1, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm1")(y, **frozen))
        y = _conv(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv2")(y)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm2")(y, **frozen))
        y = _conv(4 * self.width, 1, dtype=self.dtype, name="conv3")(y)
        y = _last_norm(self, "norm3")(y, **frozen)
        return nn.relu(_add_shortcut(self, x, y, train=train))


def _conv(channels: int, window: int, *, stride: int = 1, dtype: Any, name: str) -> nn.Conv:
    # Explicit padding: "SAME" would shift strided windows by a pixel against the reference weights.
    return nn.Conv(
        channels,
        (window, window),
        strides=stride,
        padding=window // 2,
        use_bias=False,
        kernel_init=HE_FAN_OUT,
        dtype=dtype,
        name=name,
    )


def _last_norm(block: BasicBlock | Bottleneck, name: str) -> BatchNorm:
    ones, zeros = nn.initializers.ones, nn.initializers.zeros
    scale_init = zeros if block.zero_init_residual else ones
    return BatchNorm(scale_init=scale_init, dtype=block.dtype, name=name)


def _add_shortcut(block: BasicBlock | Bottleneck, x: Array, y: Array, *, train: bool) -> Array:
    if block.shortcut == "none":
        return y
    if x.shape != y.shape:
        if block.shortcut == "projection":
            conv = _conv(
                y.shape[-1], 1, stride=block.stride, dtype=block.dtype, name="shortcut_conv"
            )
            norm = BatchNorm(dtype=block.dtype, name="shortcut_norm")
            x = norm(conv(x), use_running_average=not train)
        else:
            missing = y.shape[-1] - x.shape[-1]
            x = x[:, :: block.stride, :: block.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    return x + y


def _apply(block: nn.Module, x: Array, *, train: bool, remat: bool) -> Array:
    if not remat:
        return block(x, train=train)
    return nn.remat(lambda block, x: block(x, train=train))(block, x)


_IMAGENET = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
_CIFAR = (20, 32, 44, 56, 110)

VARIANTS = {
    f"resnet{depth}": (ResNet, {"block": block, "stage_sizes": sizes})
    for depth, (block, sizes) in _IMAGENET.items()
}
VARIANTS |= {
    f"plain{depth}": (
        ResNet,
        {"block": "basic", "stage_sizes": _IMAGENET[depth][1], "shortcut": "none"},
    )
    for depth in (18, 34)
}
VARIANTS |= {
    f"{kind}{depth}": (
        ResNet,
        {
            "block": "basic",
            "stage_sizes": ((depth - 2) // 6,) * 3,
            "width": 16,
            "stem": "cifar",
            "shortcut": shortcut,
        },
    )
    for kind, shortcut in (("resnet", "pad"), ("plain", "none"))
    for depth in _CIFAR
}
