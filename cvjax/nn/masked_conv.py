"""Convolutions that see only what comes before: above, and to the left in the same row.

van den Oord et al. 2016, "Pixel recurrent neural networks", https://arxiv.org/abs/1601.06759,
section 3.4. The order of an image is row by row, and within a pixel channel by channel.
"""

import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# (row, column), of a position in the map
Position = tuple[int | Int[Array, ""], int | Int[Array, ""]]
_HE = nn.initializers.he_normal()


class MaskedConv(nn.Module):
    """A convolution over `above` rows, `left` and `right` columns and the position itself.

    Stride 1, zeros outside, so the map keeps its size. In the position's own row, columns to the
    right are masked. At the position itself, channels belong to one of `groups` groups, in order
    (channel i of C to group i G // C): a channel sees the groups before its own, with `mask="B"`
    its own as well, with "A" not. `mask="rows"` masks nothing: for maps that depend on rows above
    alone. `blocks`: the output is so many maps side by side, each with all groups.

    Incrementally, `at` = (row, column) says where `x`, the part [B, 1, w, C] of a map, lies; what
    came before is in the collection "cache", which a whole call with mutable=["cache"] makes empty.
    `width` besides: `x` is the whole map, and the output is w = `width` places from `at` on.
    """

    features: int
    above: int
    left: int
    right: int
    mask: Literal["A", "B", "rows"]
    groups: int = 1
    blocks: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], at: Position | None = None, *, width: int | None = None
    ) -> Float[Array, "b h w d"]:
        inputs = x.shape[-1]
        mask = self._mask(inputs)
        # As many inputs as are left decide how large a weight begins.
        gain = math.sqrt(mask.size / max(mask.sum(), 1))
        kernel = self.param(
            "kernel",
            lambda key, shape: gain * _HE(key, shape) * mask,
            (self.above + 1, self.left + 1 + self.right, inputs, self.features),
        )
        kernel = (kernel * mask).astype(self.dtype)
        y = self._convolved(x.astype(self.dtype), kernel, at, width)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)[None, None, None]
        return y

    def _convolved(self, x: Array, kernel: Array, at: Position | None, width: int | None) -> Array:
        if kernel.shape[:2] == (1, 1):  # a product of matrices, and faster as such
            return x @ kernel[0, 0]
        border = ((0, 0), (self.above, 0), (self.left, self.right), (0, 0))
        if at is None:
            if self.is_mutable_collection("cache") and not self.is_initializing():
                shape = [size + sum(more) for size, more in zip(x.shape, border)]
                self.variable("cache", "input", jnp.zeros, shape, self.dtype)
            return _convolve(x, kernel, border[1:3])
        row, column = at
        if width is not None:
            whole, width = jnp.pad(x, border), width
        else:
            width = x.shape[2]
            cache = self.variable("cache", "input", lambda: None)
            place = (0, row + self.above, column + self.left, 0)
            cache.value = whole = lax.dynamic_update_slice(cache.value, x, place)
        size = (len(x), self.above + 1, width + self.left + self.right, x.shape[-1])
        window = lax.dynamic_slice(whole, (0, row, column, 0), size)
        if width == 1:
            y = window.reshape(len(x), -1) @ kernel.reshape(-1, self.features)
            return y[:, None, None]
        return _convolve(window, kernel, ((0, 0), (0, 0)))

    def _mask(self, inputs: int) -> Float[np.ndarray, "h w c d"]:
        shape = (self.above + 1, self.left + 1 + self.right, inputs, self.features)
        mask = np.ones(shape, np.float32)
        if self.mask != "rows":
            mask[self.above, self.left + 1 :] = 0
            mask[self.above, self.left] = group_mask(
                inputs, self.features, groups=self.groups, own=self.mask == "B", blocks=self.blocks
            )
        return mask


def group_mask(
    inputs: int, outputs: int, *, groups: int, own: bool, blocks: int = 1
) -> Bool[np.ndarray, "c d"]:
    """Whether an output channel may see an input channel of the same pixel.

    Raises:
        ValueError: if the channels do not divide into groups.
    """
    for name, channels, parts in (("in", inputs, groups), ("out", outputs, groups * blocks)):
        if channels % parts:
            raise ValueError(
                f"masked convolution: {channels} channels {name} do not divide into {parts} equal "
                "parts. Make model.width a multiple of the image's channels."
            )
    of_input = np.arange(inputs) * groups // inputs
    block = outputs // blocks
    of_output = (np.arange(outputs) % block) * groups // block
    known = of_input[:, None] <= of_output if own else of_input[:, None] < of_output
    return known


def shifted_down(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Every row where the next one was, zeros in the first."""
    return jnp.pad(image, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


def _convolve(x: Array, kernel: Array, padding: Any) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
