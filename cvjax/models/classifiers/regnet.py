"""RegNets (Radosavovic et al. 2020, "Designing network design spaces",
https://arxiv.org/abs/2003.13678).

regnet_x_* and, with squeeze-and-excitation, regnet_y_* at 400 and 800 megaflops, 1.6 to 32
gigaflops (tables 5 and 6 of the appendix), as in torchvision: regnet_y_400mf has 4,344,144
parameters at 1000 classes.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.dense import Dense
from cvjax.nn.squeeze_excite import SqueezeExcite
from cvjax.ops.materialized import materialized
from cvjax.ops.pool import global_avg_pool


class RegNet(nn.Module):
    """conv 3x3 stride 2, stages of grouped residual blocks, global average pooling, head (fig. 3).

    Every stage halves the map. `widths`: channels of each stage; `group_width`: channels of a
    group of its 3x3 convolutions. `squeeze`: the gate's channels as a share of those that enter
    the block; 0 = no gate (X). Any input size.
    """

    num_classes: int | None
    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    group_width: int
    squeeze: float = 0.0
    stem_width: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        features = {}
        x = ConvNorm(self.stem_width, 3, 2, dtype=self.dtype, name="stem")(image, train=train)
        features["stride2"] = x
        for i, (blocks, width) in enumerate(zip(self.stage_sizes, self.widths)):
            for j in range(blocks):
                block = RegNetBlock(
                    width=width,
                    stride=2 if j == 0 else 1,
                    group_width=min(self.group_width, width),
                    squeeze=self.squeeze,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = block(x, train=train)
            features[f"stride{4 * 2**i}"] = x

        features["pooled"] = x = global_avg_pool(x)
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        init = nn.initializers.normal(0.01)
        head = Dense(self.num_classes, kernel_init=init, dtype=jnp.float32, name="head")
        return head(x), features


class RegNetBlock(nn.Module):
    """relu(x + conv 1x1 - grouped conv 3x3 - gate - conv 1x1), all of one width (fig. 4)."""

    width: int
    stride: int
    group_width: int
    squeeze: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        linear = {"activation": lambda x: x, "dtype": self.dtype}
        groups = self.width // self.group_width
        y = ConvNorm(self.width, 1, dtype=self.dtype, name="conv1")(x, train=train)
        y = ConvNorm(self.width, 3, self.stride, groups=groups, dtype=self.dtype, name="conv2")(
            y, train=train
        )
        if self.squeeze:
            squeezed = round(self.squeeze * x.shape[-1])
            y = SqueezeExcite(squeezed, dtype=self.dtype, name="squeeze_excite")(y)
        y = ConvNorm(self.width, 1, name="conv3", **linear)(y, train=train)
        if x.shape != y.shape:
            shortcut = ConvNorm(self.width, 1, self.stride, name="shortcut", **linear)
            x = shortcut(x, train=train)
        return materialized(nn.relu(x + y))


def stages_of(
    depth: int, initial_width: int, slope: float, ratio: float, group_width: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(blocks, channels) of each stage, by the paper's line of widths (section 3.3).

    Block j would have initial_width + slope j channels (eq. 2). That is rounded to the nearest
    initial_width ratio^s, s an integer (eq. 3, 4), to a multiple of 8, and to one of the group's
    width; blocks of equal width are a stage.

    Differs from the paper: halves are rounded up, and down never by more than a tenth, as in
    torchvision. That widens a stage of regnet_x_400mf (400 for 384), two of regnet_y_800mf (144
    and 784 for 128 and 768) and one of regnet_y_8gf (224 for 168).
    """
    line = initial_width + slope * np.arange(depth)
    power = np.round(np.log(line / initial_width) / np.log(ratio))
    widths = (np.round(initial_width * ratio**power / 8) * 8).astype(int)
    channels, blocks = np.unique(widths, return_counts=True)
    groups = np.minimum(group_width, channels)
    nearest = (channels + groups // 2) // groups * groups
    channels = np.where(nearest < 0.9 * channels, nearest + groups, nearest)
    return tuple(map(int, blocks)), tuple(map(int, channels))


# depth, initial width, slope, ratio, width of a group
_X = {
    "400mf": (22, 24, 24.48, 2.54, 16),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1_6gf": (18, 80, 34.01, 2.25, 24),
    "3_2gf": (25, 88, 26.31, 2.25, 48),
    "8gf": (23, 80, 49.56, 2.88, 120),
    "16gf": (22, 216, 55.59, 2.1, 128),
    "32gf": (23, 320, 69.86, 2.0, 168),
}
_Y = {
    "400mf": (16, 48, 27.89, 2.09, 8),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1_6gf": (27, 48, 20.71, 2.65, 24),
    "3_2gf": (21, 80, 42.63, 2.66, 24),
    "8gf": (17, 192, 76.82, 2.19, 56),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
}


def _fields(numbers: tuple[int, int, float, float, int], squeeze: float) -> dict[str, Any]:
    blocks, channels = stages_of(*numbers)
    return {
        "stage_sizes": blocks,
        "widths": channels,
        "group_width": numbers[-1],
        "squeeze": squeeze,
    }


VARIANTS = {f"regnet_x_{size}": (RegNet, _fields(numbers, 0.0)) for size, numbers in _X.items()}
VARIANTS |= {f"regnet_y_{size}": (RegNet, _fields(numbers, 0.25)) for size, numbers in _Y.items()}
