"""What the Inception networks have in common: branches side by side, described by tables."""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm, Pair
from cvjax.nn.initializers import HE_FAN_OUT
from cvjax.ops.pool import avg_pool, max_pool


@dataclass(frozen=True)
class Conv:
    """A convolution with BatchNorm and ReLU; `padding=None` keeps the size at stride 1."""

    channels: int
    window: Pair = 1
    stride: int = 1
    padding: int | None = None


@dataclass(frozen=True)
class Pool:
    """A pooling layer. `count_padding`: do the zeros of the border count in an average?"""

    kind: Literal["max", "avg"]
    window: int = 3
    stride: int = 1
    padding: int = 1
    count_padding: bool = True


@dataclass(frozen=True)
class Fork:
    """Convolutions of one map, joined along the channels: the end of a branch."""

    tines: tuple[Conv, ...]


Step = Conv | Pool | Fork
Branch = tuple[Step, ...]

# The valid 3x3 max-pool that halves a map in one of the branches.
HALVE = Pool("max", stride=2, padding=0)


class Branches(nn.Module):
    """Branches of one map, joined along the channels (Szegedy et al. 2014, fig. 2,
    https://arxiv.org/abs/1409.4842).

    Convolution j of branch i is the submodule `branch{i}_conv{j}`; of a fork, the first is
    `branch{i}_conv{j}a`, and so on. An empty branch hands the map through.
    """

    branches: tuple[Branch, ...]
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT
    epsilon: float = 1e-3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        def convolve(x: Array, step: Conv, name: str) -> Array:
            block = ConvNorm(
                step.channels,
                window=step.window,
                stride=step.stride,
                padding=step.padding,
                kernel_init=self.kernel_init,
                epsilon=self.epsilon,
                dtype=self.dtype,
                name=name,
            )
            return block(x, train=train)

        ends = []
        for i, branch in enumerate(self.branches):
            y, convolutions = x, 0
            for step in branch:
                if isinstance(step, Pool):
                    y = _pool(y, step)
                    continue
                convolutions += 1
                name = f"branch{i + 1}_conv{convolutions}"
                if isinstance(step, Conv):
                    y = convolve(y, step, name)
                else:
                    tines = zip("abcd", step.tines)
                    tines = [convolve(y, tine, f"{name}{letter}") for letter, tine in tines]
                    y = jnp.concatenate(tines, axis=-1)
            ends.append(y)
        return jnp.concatenate(ends, axis=-1)


class InceptionStem(nn.Module):
    """The first convolutions of Inception v3 and Inception-ResNet v2, all but one of them valid.

    299 pixels become a 35x35 map of 192 channels (Szegedy et al. 2015, table 1,
    https://arxiv.org/abs/1512.00567, whose last three layers are in the released code 1x1, 3x3
    and a max-pool). Returns the map and {"stride2", "stride4"}.
    """

    kernel_init: nn.initializers.Initializer = HE_FAN_OUT
    epsilon: float = 1e-3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b h2 w2 d"], dict[str, Array]]:
        made = {"kernel_init": self.kernel_init, "epsilon": self.epsilon, "dtype": self.dtype}
        x = ConvNorm(32, 3, stride=2, padding=0, name="conv1", **made)(image, train=train)
        x = ConvNorm(32, 3, padding=0, name="conv2", **made)(x, train=train)
        features = {"stride2": ConvNorm(64, 3, name="conv3", **made)(x, train=train)}
        x = max_pool(features["stride2"], window=3, stride=2)
        x = ConvNorm(80, name="conv4", **made)(x, train=train)
        features["stride4"] = ConvNorm(192, 3, padding=0, name="conv5", **made)(x, train=train)
        return max_pool(features["stride4"], window=3, stride=2), features


def reduction(direct: int, double: tuple[int, int, int]) -> tuple[Branch, ...]:
    """The module that halves a map without a bottleneck ("Reduction-A").

    Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, fig. 10; Szegedy et al. 2016,
    https://arxiv.org/abs/1602.07261, fig. 7, whose (k, l, m, n) are (*double, direct).
    """
    reduce, widen, halve = double
    return (
        (Conv(direct, 3, stride=2, padding=0),),
        (Conv(reduce), Conv(widen, 3), Conv(halve, 3, stride=2, padding=0)),
        (HALVE,),
    )


def _pool(x: Array, step: Pool) -> Array:
    geometry = {"window": step.window, "stride": step.stride, "padding": step.padding}
    if step.kind == "max":
        return max_pool(x, **geometry)
    return avg_pool(x, count_include_pad=step.count_padding, **geometry)
