"""PixelRNN: every pixel's distribution given all those before it, by LSTMs over the map.

van den Oord et al. 2016, "Pixel recurrent neural networks", https://arxiv.org/abs/1601.06759:
the Row LSTM (section 3.1) and the Diagonal BiLSTM (section 3.2), which sees every pixel before
but the last one of the row above, unless the first window reaches it: mask A keeps that pixel out
of its own feature, and there is no feature to the right of it that could tell.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from cvjax.nn.masked_conv import MaskedConv, shifted_down
from cvjax.nn.pixel_model import PixelModel

_ORTHOGONAL = nn.initializers.orthogonal()


class PixelRNN(PixelModel):
    """({`parameters` [B, H, W, P]}, {}), those of a pixel from pixels before it alone.

    A convolution of mask A, `depth` residual LSTM layers, two 1x1 layers (table 1 of the paper).

    `recurrence`: "row" = down the rows, each place from three above it; "diagonal" = along both
    diagonals. `width`: of the residual path; half of it are the LSTMs'
    units. A multiple of 2 C where the channels of a pixel come one after the other. `first_window`:
    side of the first window. `hidden`: channels of the last layers. The other fields are those of
    `cvjax.nn.pixel_model`.
    """

    recurrence: Literal["row", "diagonal"] = "row"
    width: int = 64
    depth: int = 4
    first_window: int = 7
    hidden: int = 64

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        del train
        groups, half = self.distribution.groups, self.first_window // 2
        fields = {"groups": groups, "dtype": self.dtype}
        first = MaskedConv(self.width, half, half, half, "A", **fields, name="first")
        x = first(2 * image - 1)
        layer = RowLSTM if self.recurrence == "row" else DiagonalBiLSTM
        for i in range(1, self.depth + 1):
            state = layer(self.width // 2, **fields, name=f"lstm{i}")(x)
            widen = MaskedConv(self.width, 0, 0, 0, "B", **fields, name=f"widen{i}")
            x = x + widen(state)
        for i in (1, 2):
            last = MaskedConv(self.hidden, 0, 0, 0, "B", **fields, name=f"last{i}")
            x = last(nn.relu(x))
        # Parameters of the distribution are float32 whatever the compute type.
        fields["dtype"] = jnp.float32
        head = MaskedConv(self.distribution.parameters, 0, 0, 0, "B", **fields, name="head")
        return {"parameters": head(nn.relu(x))}, {}


class RowLSTM(nn.Module):
    """Hidden maps [B, H, W, units], row after row (equation 3)."""

    units: int
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        gates = MaskedConv(
            4 * self.units, 0, 1, 0, "B", self.groups, blocks=4, dtype=self.dtype, name="input"
        )(x)
        # The row above is known whole: nothing is masked. As three products, which a loop runs
        # faster than a convolution.
        kernel = self.param("state_kernel", _ORTHOGONAL, (3 * self.units, 4 * self.units))
        kernel = kernel.astype(self.dtype)

        def step(carry: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], Array]:
            cell, state = carry  # [B, W, units]
            padded = jnp.pad(state, ((0, 0), (1, 1), (0, 0)))
            near = [padded[:, i : i + state.shape[1]] for i in range(3)]
            cell, state = _lstm(row + jnp.concatenate(near, axis=-1) @ kernel, cell)
            return (cell, state), state

        nothing = jnp.zeros((*x.shape[:1], x.shape[2], self.units), self.dtype)
        _, states = lax.scan(step, (nothing, nothing), jnp.moveaxis(gates, 1, 0))
        return jnp.moveaxis(states, 0, 1)


class DiagonalBiLSTM(nn.Module):
    """Hidden maps [B, H, W, units]: from the upper left, plus from the upper right.

    What comes from the right knows the rest of its row, so it is moved down by a row.
    """

    units: int
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        fields = {"groups": self.groups, "dtype": self.dtype}
        from_left = _DiagonalLSTM(self.units, **fields, name="from_left")(x)
        from_right = _DiagonalLSTM(self.units, **fields, name="from_right")(x[:, :, ::-1])
        return from_left + shifted_down(from_right[:, :, ::-1])


class _DiagonalLSTM(nn.Module):
    """Each place from the one to its left and the one above, a diagonal at a time."""

    units: int
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        batch, height, width, _ = x.shape
        gates = MaskedConv(
            4 * self.units, 0, 0, 0, "B", self.groups, blocks=4, dtype=self.dtype, name="input"
        )(x)
        kernel = self.param("state_kernel", _ORTHOGONAL, (2 * self.units, 4 * self.units))
        kernel = kernel.astype(self.dtype)

        # Skewed: row i begins i columns later, so that column d is a diagonal (figure 3).
        rows = np.arange(height)[:, None]
        columns = np.arange(height + width - 1)[None] - rows  # [H, D]
        inside = (columns >= 0) & (columns < width)
        skewed = gates[:, rows, columns.clip(0, width - 1)]  # [B, H, D, 4 units]

        def step(
            carry: tuple[Array, Array], column: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], Array]:
            cell, state = carry  # [B, H, units]
            gates, valid = column
            above = jnp.pad(state, ((0, 0), (1, 0), (0, 0)))[:, :-1]
            cell, state = _lstm(gates + jnp.concatenate([state, above], axis=-1) @ kernel, cell)
            # Outside of the picture there is nothing to remember.
            valid = valid[None, :, None]
            cell, state = jnp.where(valid, cell, 0), jnp.where(valid, state, 0)
            return (cell, state), state

        nothing = jnp.zeros((batch, height, self.units), self.dtype)
        along = (jnp.moveaxis(skewed, 2, 0), jnp.asarray(inside.T))
        _, states = lax.scan(step, (nothing, nothing), along)  # [D, B, H, units]
        back = np.arange(width)[None] + rows  # [H, W]
        return jnp.moveaxis(states, 0, 2)[:, rows, back]


def _lstm(gates: Array, cell: Array) -> tuple[Array, Array]:
    """(cell, state) after a step, from the four gates' inputs side by side."""
    output, forget, write, content = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(write) * jnp.tanh(content)
    return cell, jax.nn.sigmoid(output) * jnp.tanh(cell)


VARIANTS = {
    "row_lstm": (PixelRNN, {"recurrence": "row"}),
    "diagonal_bilstm": (PixelRNN, {"recurrence": "diagonal"}),
}
