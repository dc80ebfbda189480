"""Residual networks and their plain twins (He et al. 2015, https://arxiv.org/abs/1512.03385).

ImageNet: resnet18/34/50/101/152 and plain18/34 (table 1). CIFAR: resnet20/32/44/56/110 and
plain20/32/44/56/110 (section 4.2: 6n+2 layers, shortcuts without parameters).
Parameters at 1000 classes, as in torchvision: 11,689,512 / 21,797,672 / 25,557,032 / 44,549,160 /
60,192,808. At 10 classes on CIFAR: 269,722 / 464,154 / 658,586 / 853,018 / 1,727,962.

What was later changed in them is a field:

* `groups`, `group_width`: ResNeXt (Xie et al. 2016, https://arxiv.org/abs/1611.05431), whose
  "32x4d" are 32 groups of 4 channels, and the wide ResNets of Zagoruyko & Komodakis (2016,
  https://arxiv.org/abs/1605.07146) for ImageNet, whose 3x3 convolutions are twice as wide.
* `squeeze`: a gate on every block (Hu et al. 2017, https://arxiv.org/abs/1709.01507).
* `stem="deep"`, `shortcut="pool"`: ResNet-D (He et al. 2018, https://arxiv.org/abs/1812.01187).
* `drop_path`: stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382).
* `norm`, `activation`: other layers in the place of batch normalisation and ReLU.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import AnyActivation, activate
from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.nn.drop_path import DropPath
from cvjax.nn.initializers import HE_FAN_OUT, LINEAR
from cvjax.nn.norm_kinds import Norm, normalize
from cvjax.nn.remat import apply_block
from cvjax.nn.squeeze_excite import SqueezeExcite
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import avg_pool, global_avg_pool, max_pool

Shortcut = Literal["projection", "pool", "pad", "none"]


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pooling, linear head.

    The first block of every stage but the first halves the map and doubles the width.
    `stem`: "imagenet" = 7x7 stride 2, "deep" = three 3x3 of which the first has stride 2, both
    with a 3x3 max-pool stride 2 behind; "cifar" = 3x3 stride 1; "none": the image is the map of
    another network, whose last stage this is.
    `shortcut`: where a block changes the shape, "projection" = 1x1 convolution and BN (the
    paper's option B), "pool" = the same behind a 2x2 average pool that takes the stride, "pad" =
    every second pixel and zero channels (option A); "none" = plain.
    `groups`, `group_width`: the 3x3 convolution of a bottleneck in the first stage has `groups`
    groups of `group_width` channels (None: `width`); further stages double the latter.
    `squeeze`: the block's output channels are gated through `squeeze` times fewer ones.
    `drop_path`: the rate at which the last block is skipped in training; the first is skipped
    least, at rate `drop_path` / (number of blocks) (Huang et al., eq. 4).
    `zero_init_residual`: the last norm of a block starts at 0, so that the block starts as the
    identity (Goyal et al. 2017, section 5.1); without a norm, its last convolution does.
    `norm`, `norm_warmup`: as `cvjax.nn.norm_kinds.normalize` takes them; with "none",
    convolutions have biases. `negative_slope` is Leaky ReLU's alone. `remat`: recompute a block
    in the backward pass instead of keeping its inner maps. Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    block: Literal["basic", "bottleneck"]
    width: int = 64
    stem: Literal["imagenet", "deep", "cifar", "none"] = "imagenet"
    shortcut: Shortcut = "projection"
    groups: int = 1
    group_width: int | None = None
    squeeze: int | None = None
    drop_path: float = 0.0
    zero_init_residual: bool = False
    norm: Norm = "batch"
    norm_warmup: int = 5000
    activation: AnyActivation = "relu"
    negative_slope: float = 0.01
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        stride = 1
        x = self._stem(image, train=train)
        if self.stem not in ("cifar", "none"):
            features["stride2"] = x
            x = max_pool(x, window=3, stride=2, padding=1)
            stride = 4

        group_width = self.group_width or self.width
        done = 0
        for i, blocks in enumerate(self.stage_sizes):
            for j in range(blocks):
                down = i > 0 and j == 0
                done += 1
                fields = {
                    "width": self.width * 2**i,
                    "stride": 2 if down else 1,
                    "shortcut": self.shortcut,
                    "squeeze": self.squeeze,
                    "drop_path": self.drop_path * done / sum(self.stage_sizes),
                    "zero_init_residual": self.zero_init_residual,
                    "norm": self.norm,
                    "norm_warmup": self.norm_warmup,
                    "activation": self.activation,
                    "negative_slope": self.negative_slope,
                    "dtype": self.dtype,
                    "name": f"stage{i + 1}_block{j + 1}",
                }
                if self.block == "basic":
                    block = BasicBlock(**fields)
                else:
                    inner = self.groups * group_width * 2**i
                    block = Bottleneck(inner_width=inner, groups=self.groups, **fields)
                x = apply_block(block, x, train=train, remat=self.remat)
                stride *= 2 if down else 1
            features[f"stride{stride}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        head = Dense(self.num_classes, kernel_init=LINEAR, dtype=jnp.float32, name="head")
        return head(x), features

    def _stem(self, x: Array, *, train: bool) -> Array:
        if self.stem == "none":
            return x.astype(self.dtype)
        if self.stem == "deep":
            convs = [(self.width // 2, 3, 2), (self.width // 2, 3, 1), (self.width, 3, 1)]
        else:
            convs = [(self.width, 7, 2) if self.stem == "imagenet" else (self.width, 3, 1)]
        for i, (channels, window, stride) in enumerate(convs, start=1):
            number = str(i) if len(convs) > 1 else ""
            x = _conv(self, channels, window, stride=stride, name=f"stem_conv{number}")(x)
            x = _norm(self, x, f"stem_norm{number}", train=train)
            x = _activate(self, x, f"stem_activation{number}")
        return x


class BasicBlock(nn.Module):
    """relu(x + conv 3x3 - conv 3x3) with BN after each convolution (fig. 5, left)."""

    width: int
    stride: int
    shortcut: Shortcut
    squeeze: int | None = None
    drop_path: float = 0.0
    zero_init_residual: bool = False
    norm: Norm = "batch"
    norm_warmup: int = 5000
    activation: AnyActivation = "relu"
    negative_slope: float = 0.01
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = _conv(self, self.width, 3, stride=self.stride, name="conv1")(x)
        y = _activate(self, _norm(self, y, "norm1", train=train), "activation1")
        y = _conv(self, self.width, 3, last=True, name="conv2")(y)
        y = _norm(self, y, "norm2", last=True, train=train)
        y = _add_shortcut(self, x, y, train=train)
        return materialized(_activate(self, y, "activation2"))


class Bottleneck(nn.Module):
    """relu(x + conv 1x1 - conv 3x3 - conv 1x1), the last of 4 `width` channels (fig. 5, right).

    `inner_width`: channels of the first two convolutions; `width` in the paper.
    Differs from the paper: the 3x3 convolution carries the stride, not the first 1x1, as in
    every public set of weights ("v1.5").
    """

    width: int
    inner_width: int
    stride: int
    shortcut: Shortcut
    groups: int = 1
    squeeze: int | None = None
    drop_path: float = 0.0
    zero_init_residual: bool = False
    norm: Norm = "batch"
    norm_warmup: int = 5000
    activation: AnyActivation = "relu"
    negative_slope: float = 0.01
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = _conv(self, self.inner_width, 1, name="conv1")(x)
        y = _activate(self, _norm(self, y, "norm1", train=train), "activation1")
        grouped = {"stride": self.stride, "groups": self.groups}
        y = _conv(self, self.inner_width, 3, **grouped, name="conv2")(y)
        y = _activate(self, _norm(self, y, "norm2", train=train), "activation2")
        y = _conv(self, 4 * self.width, 1, last=True, name="conv3")(y)
        y = _norm(self, y, "norm3", last=True, train=train)
        y = _add_shortcut(self, x, y, train=train)
        return materialized(_activate(self, y, "activation3"))


def _conv(
    part: ResNet | BasicBlock | Bottleneck,
    channels: int,
    window: int,
    *,
    stride: int = 1,
    groups: int = 1,
    last: bool = False,
    name: str,
) -> nn.Conv:
    """A convolution of `part`; the `last` of a block starts at 0 where that is asked for."""
    unnormalised = part.norm == "none"
    zero = last and unnormalised and part.zero_init_residual
    # Explicit padding: "SAME" would shift strided windows by a pixel against the reference weights.
    return Conv(
        channels,
        (window, window),
        strides=stride,
        padding=window // 2,
        feature_group_count=groups,
        use_bias=unnormalised,
        kernel_init=nn.initializers.zeros if zero else HE_FAN_OUT,
        dtype=part.dtype,
        name=name,
    )


def _norm(
    part: ResNet | BasicBlock | Bottleneck,
    x: Array,
    name: str,
    *,
    last: bool = False,
    train: bool,
) -> Array:
    zero = last and part.zero_init_residual
    scale_init = nn.initializers.zeros if zero else nn.initializers.ones
    return normalize(
        x,
        part.norm,
        train=train,
        name=name,
        scale_init=scale_init,
        warmup=part.norm_warmup,
        dtype=part.dtype,
    )


def _activate(part: ResNet | BasicBlock | Bottleneck, x: Array, name: str) -> Array:
    return activate(x, part.activation, name=name, negative_slope=part.negative_slope)


def _add_shortcut(block: BasicBlock | Bottleneck, x: Array, y: Array, *, train: bool) -> Array:
    if block.squeeze is not None:
        width = max(y.shape[-1] // block.squeeze, 1)
        y = SqueezeExcite(width, dtype=block.dtype, name="squeeze_excite")(y)
    if block.shortcut == "none":
        return y
    if x.shape != y.shape:
        stride = block.stride
        if block.shortcut == "pad":
            missing = y.shape[-1] - x.shape[-1]
            x = x[:, ::stride, ::stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
        else:
            if block.shortcut == "pool" and stride > 1:
                # Odd sizes: the last window is smaller and the mean of what it holds.
                x = avg_pool(x, window=stride, ceil_mode=True, count_include_pad=False)
                stride = 1
            x = _conv(block, y.shape[-1], 1, stride=stride, name="shortcut_conv")(x)
            x = _norm(block, x, "shortcut_norm", train=train)
    return x + DropPath(block.drop_path)(y, train=train)


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
# Wider 3x3 convolutions, in groups or not.
VARIANTS |= {
    name: (
        ResNet,
        {
            "block": "bottleneck",
            "stage_sizes": _IMAGENET[depth][1],
            "groups": groups,
            "group_width": group_width,
        },
    )
    for name, depth, groups, group_width in (
        ("resnext50_32x4d", 50, 32, 4),
        ("resnext101_32x8d", 101, 32, 8),
        ("resnext101_64x4d", 101, 64, 4),
        ("wide_resnet50_2", 50, 1, 128),
        ("wide_resnet101_2", 101, 1, 128),
    )
}
# ResNeXt on CIFAR (Xie et al., section 5.3).
VARIANTS |= {
    f"resnext29_{groups}x64d": (
        ResNet,
        {
            "block": "bottleneck",
            "stage_sizes": (3, 3, 3),
            "stem": "cifar",
            "groups": groups,
            "group_width": 64,
        },
    )
    for groups in (8, 16)
}
VARIANTS |= {
    f"se{name}": (ResNet, {**VARIANTS[name][1], "squeeze": 16})
    for name in ("resnet50", "resnet101", "resnet152", "resnext50_32x4d")
}
VARIANTS |= {
    f"resnet{depth}d": (
        ResNet,
        {**VARIANTS[f"resnet{depth}"][1], "stem": "deep", "shortcut": "pool"},
    )
    for depth in (18, 34, 50, 101, 152)
}
