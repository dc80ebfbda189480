"""Inverted residual blocks, thin outside and wide inside, of the networks made for phones."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.conv_norm import ConvNorm
from cvjax.nn.drop_path import DropPath
from cvjax.nn.squeeze_excite import SqueezeExcite


def divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` next to `channels`, one more where that would lose over 10%."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class InvertedResidual(nn.Module):
    """1x1 up to `expanded` channels, a depthwise window, a gate, 1x1 down without nonlinearity.

    (Sandler et al. 2018, https://arxiv.org/abs/1801.04381, fig. 3; the gate is Howard et al.'s
    2019, https://arxiv.org/abs/1905.02244, fig. 4.) The input is added where the shape stays.
    Where `expanded` is the number of channels that come in, there is no first convolution;
    `squeeze` is the gate's inner width, None for no gate; `drop_rate` the share of examples that
    lose the branch in training.

    `fused`: one ordinary convolution stands for the first two, and for all three where nothing is
    expanded (Tan & Le 2021, https://arxiv.org/abs/2104.00298, fig. 2).
    """

    channels: int
    expanded: int
    window: int = 3
    stride: int = 1
    activation: Callable[[Array], Array] = nn.relu6
    squeeze: int | None = None
    squeeze_activation: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    fused: bool = False
    drop_rate: float = 0.0
    padding: Literal["SAME"] | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        return self.with_expansion(x, train=train)[0]

    @nn.compact
    def with_expansion(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b h2 w2 d"], Float[Array, "b _h _w e"]]:
        """(the block's output, the map behind its first convolution)."""

        def conv(name: str, channels: int, **fields: Any) -> ConvNorm:
            shared = {"momentum": self.momentum, "epsilon": self.epsilon, "dtype": self.dtype}
            return ConvNorm(channels, padding=self.padding, name=name, **shared, **fields)

        inside = {"activation": self.activation}
        across = {"window": self.window, "stride": self.stride, **inside}
        y, widens = x, self.expanded != x.shape[-1]
        if self.fused:
            y = conv("expand", self.expanded if widens else self.channels, **across)(y, train=train)
            expansion = y
        else:
            if widens:
                y = conv("expand", self.expanded, **inside)(y, train=train)
            expansion = y
            depthwise = conv("depthwise", self.expanded, groups=self.expanded, **across)
            y = depthwise(y, train=train)
        if self.squeeze is not None:
            y = SqueezeExcite(
                self.squeeze,
                activation=self.squeeze_activation,
                gate=self.gate,
                dtype=self.dtype,
                name="squeeze_excite",
            )(y)
        if widens or not self.fused:
            y = conv("project", self.channels, activation=lambda y: y)(y, train=train)
        if x.shape != y.shape:
            return y, expansion
        return x + DropPath(self.drop_rate, name="drop_path")(y, train=train), expansion
