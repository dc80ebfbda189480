"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document
recognition", section II.B): as it is taught today, and as the paper has it.

`lenet5` has 61,706 parameters at 32x32x1 and 10 classes (156 + 2,416 + 48,120 + 10,164 + 850);
`lenet5_paper` the paper's 60,000 (156 + 12 + 1,516 + 32 + 48,120 + 10,164).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from cvjax.nn.activation import ACTIVATIONS, Activation
from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.ops.pool import avg_pool, max_pool

POOLS = {"avg": avg_pool, "max": max_pool}

# Table I: which of the six S2 maps each of the sixteen C3 maps reads.
C3_READS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# What F6 should look like for each digit: 12 rows of 7, ink is +1.
DIGITS = """
 ..###.. ...##.. ..###.. .#####. ....##. ####### ..####. ####### ..###.. ..###..
 .##.##. ..###.. .##.##. ##...## ...###. ##..... .##.... ##...## .##.##. .##.##.
 ##...## .####.. ##...## .....## ...###. ##..... ##..... .....## ##...## ##...##
 ##...## ...##.. ##...## .....## ..#.##. ##..... ##..... ....##. ##...## ##...##
 ##...## ...##.. .....## ....##. ..#.##. #####.. ##.###. ....##. .##.##. ##...##
 ##...## ...##.. ....##. ..####. .#..##. ##..##. ###..## ...##.. ..###.. ##..###
 ##...## ...##.. ...##.. ....##. .#..##. .....## ##...## ...##.. .##.##. .###.##
 ##...## ...##.. ..##... .....## ####### .....## ##...## ..##... ##...## .....##
 ##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
 ##...## ...##.. ##..... .....## ....##. ##...## ##...## .##.... ##...## .....##
 .##.##. ...##.. ##..... ##...## ....##. .##.##. .##.##. .##.... .##.##. ....##.
 ..###.. .###### ####### .#####. ....##. ..###.. ..###.. .##.... ..###.. .####..
"""


class LeNet5(nn.Module):
    """Two 5x5 convolutions with 2x2 pooling, then dense layers of 120, 84 and `num_classes`.

    Differs from the paper: every C3 map reads all six S2 maps, pooling has no parameters, the
    output layer is linear, tanh is not scaled. Glorot-uniform weights, zero biases.
    `activation_after`: the nonlinearity comes after each convolution or after each pooling.
    `padding` pads the first convolution only: 2 makes 28x28 images fit the parameters of
    32x32 ones. Smallest input without padding: 16x16. `pooled` is F6.
    """

    num_classes: int | None
    activation: Activation = "tanh"
    activation_after: Literal["conv", "pool"] = "conv"
    pool: Literal["avg", "max"] = "avg"
    padding: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        del train  # nothing in LeNet-5 behaves differently in training
        options = {"kernel_init": nn.initializers.glorot_uniform(), "dtype": self.dtype}
        activation = ACTIVATIONS[self.activation]
        features = {}
        x = Conv(6, (5, 5), padding=self.padding, **options, name="c1")(image)
        features["stride2"] = x = self._subsample(x)
        x = Conv(16, (5, 5), padding=0, **options, name="c3")(x)
        features["stride4"] = x = self._subsample(x)
        x = x.reshape(x.shape[0], -1)
        x = activation(Dense(120, **options, name="c5")(x))
        features["pooled"] = x = activation(Dense(84, **options, name="f6")(x))
        if self.num_classes is None:
            return None, features
        # The head and the logits are float32 whatever the compute type.
        return Dense(self.num_classes, dtype=jnp.float32, name="head")(x), features

    def _subsample(self, x: Array) -> Array:
        activation, pool = ACTIVATIONS[self.activation], POOLS[self.pool]
        if self.activation_after == "conv":
            return pool(activation(x), window=2)
        return activation(pool(x, window=2))


class LeNet5Paper(nn.Module):
    """The paper's network: sparse C3, trainable subsampling, 1.7159 tanh(2x / 3), RBF outputs.

    The logit of a class is minus the squared distance of F6 from the class's fixed code of 84
    signs (eq. 7). Softmax cross-entropy on it is the paper's eq. 9 without the rubbish class.
    At 10 classes the codes are digits of 7x12 pixels, drawn after fig. 3, else random signs, the
    paper's alternative. Weights and biases from U(-2.4 / fan_in, 2.4 / fan_in) (appendix A).
    The paper feeds 32x32 images with background -0.1 and ink 1.175. Smallest input: 16x16.
    `pooled` is F6.
    """

    num_classes: int | None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b k"] | None, dict[str, Array]]:
        del train  # nothing in LeNet-5 behaves differently in training
        features = {}
        x = _squash(_conv(image, 6, name="c1", dtype=self.dtype))
        features["stride2"] = x = _squash(Subsample(dtype=self.dtype, name="s2")(x))
        x = _squash(SparseConv(C3_READS, dtype=self.dtype, name="c3")(x))
        features["stride4"] = x = _squash(Subsample(dtype=self.dtype, name="s4")(x))
        x = x.reshape(x.shape[0], -1)
        x = _squash(_dense(x, 120, name="c5", dtype=self.dtype))
        features["pooled"] = x = _squash(_dense(x, 84, name="f6", dtype=self.dtype))
        if self.num_classes is None:
            return None, features
        difference = x.astype(jnp.float32)[:, None] - codes(self.num_classes)[None]  # [B, K, 84]
        return -jnp.square(difference).sum(-1), features


class Subsample(nn.Module):
    """The sum of every 2x2 block, times a coefficient, plus a bias, per channel (layers S2, S4)."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        channels = x.shape[-1]
        coefficient = self.param("coefficient", _uniform(fan_in=4), (channels,))
        bias = self.param("bias", _uniform(fan_in=4), (channels,))
        total = 4 * avg_pool(x.astype(self.dtype), window=2)
        return total * _row(coefficient, self.dtype) + _row(bias, self.dtype)


class SparseConv(nn.Module):
    """A 5x5 convolution whose map i reads only the input maps `reads[i]` (layer C3)."""

    reads: tuple[tuple[int, ...], ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        pairs = np.array([(i, o) for o, inputs in enumerate(self.reads) for i in inputs])
        fan_in = 25 * np.array([len(inputs) for inputs in self.reads])
        kernel = self.param("kernel", _uniform(fan_in=fan_in[pairs[:, 1]]), (5, 5, len(pairs)))
        bias = self.param("bias", _uniform(fan_in=fan_in), (len(self.reads),))
        dense = jnp.zeros((5, 5, x.shape[-1], len(self.reads)), kernel.dtype)
        dense = dense.at[:, :, pairs[:, 0], pairs[:, 1]].set(kernel)
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            dense.astype(self.dtype),
            window_strides=(1, 1),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + _row(bias, self.dtype)


def codes(num_classes: int) -> Float[np.ndarray, "k 84"]:
    """The target of F6 for every class, in {-1, 1}: the ten digits, or fixed random signs."""
    if num_classes != 10:
        signs = np.random.default_rng(1998).integers(0, 2, (num_classes, 84))
        return (2 * signs - 1).astype(np.float32)
    rows = [line.split() for line in DIGITS.strip().splitlines()]  # [12][10] strings of 7
    ink = np.array([[[p == "#" for p in glyph] for glyph in row] for row in rows])
    return np.where(ink.transpose(1, 0, 2).reshape(10, 84), 1, -1).astype(np.float32)


def _row(per_channel: Array, dtype: Any) -> Array:
    return per_channel.astype(dtype)[None, None, None]  # [1, 1, 1, C]


def _squash(x: Array) -> Array:
    return 1.7159 * jnp.tanh(x * (2 / 3))


def _conv(x: Array, channels: int, *, name: str, dtype: Any) -> Array:
    init = _uniform(fan_in=25 * x.shape[-1])
    conv = Conv(
        channels, (5, 5), padding=0, kernel_init=init, bias_init=init, dtype=dtype, name=name
    )
    return conv(x)


def _dense(x: Array, width: int, *, name: str, dtype: Any) -> Array:
    init = _uniform(fan_in=x.shape[-1])
    return Dense(width, kernel_init=init, bias_init=init, dtype=dtype, name=name)(x)


def _uniform(fan_in: int | np.ndarray) -> nn.initializers.Initializer:
    """U(-2.4 / fan_in, 2.4 / fan_in), one fan_in for all or one for each of the last axis."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        bound = np.broadcast_to(np.asarray(2.4 / fan_in, np.float32), shape)
        return bound * jax.random.uniform(key, shape, dtype, -1, 1)

    return init


VARIANTS = {"lenet5": (LeNet5, {}), "lenet5_paper": (LeNet5Paper, {})}
