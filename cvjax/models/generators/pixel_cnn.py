"""PixelCNN: every pixel's distribution given all those before it, by masked convolutions.

van den Oord et al. 2016a, "Pixel recurrent neural networks", https://arxiv.org/abs/1601.06759
(`pixel_cnn`), and 2016b, "Conditional image generation with PixelCNN decoders",
https://arxiv.org/abs/1606.05328 (`gated_pixel_cnn`), whose two stacks leave no blind spot. With
`likelihood="logistic_mixture"` the output is that of PixelCNN++ (Salimans et al. 2017).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from cvjax.nn.masked_conv import MaskedConv, Position, shifted_down
from cvjax.nn.pixel_model import PixelModel


class MaskedModel(PixelModel):
    """What both networks share: fields, the last layers and the way to sample incrementally.

    `width`: channels of the residual path, a multiple of C where the channels of a pixel come one
    after the other. `depth`: of residual blocks or gated layers.
    `first_window`, `window`: sides of the first masked window and of the others, odd.
    `hidden`: channels of the last layers. `dropout`: inside every block or layer, in training.
    The other fields are those of `cvjax.nn.pixel_model`.

    The call returns ({`parameters` [B, H, W, P]}, {}): those of a pixel depend on pixels before it
    alone, and those of a channel besides on the channels before it.

    Incrementally: `apply(..., method="start_row")`, then `method="step"` for each column, and for
    each group of channels where there are several, with mutable=["cache"]. The cache is made by
    a whole call with mutable=["cache"].
    """

    width: int = 64
    depth: int = 5
    first_window: int = 7
    window: int = 3
    hidden: int = 64
    dropout: float = 0.0

    def _conv(self, features: int, window: int, mask: str, **fields: Any) -> MaskedConv:
        half = window // 2
        size = {"above": half, "left": half, "right": half}
        common = {"mask": mask, "groups": self.distribution.groups, "dtype": self.dtype}
        return MaskedConv(features, **{**size, **common, **fields})

    def _last_layers(self) -> None:
        self.drop = nn.Dropout(self.dropout)
        self.last1 = self._conv(self.hidden, 1, "B")
        self.last2 = self._conv(self.hidden, 1, "B")
        # Parameters of the distribution are float32 whatever the compute type.
        self.head = self._conv(self.distribution.parameters, 1, "B", dtype=jnp.float32)

    def _parameters(self, x: Array) -> Array:
        x = self.last2(nn.relu(self.last1(nn.relu(x))))
        return self.head(nn.relu(x))


class PixelCNN(MaskedModel):
    """A 7x7 convolution of mask A, residual blocks of mask B (2016a, figure 5 and table 1).

    Fields and methods as `MaskedModel` says.
    """

    def setup(self) -> None:
        self.first = self._conv(self.width, self.first_window, "A")
        half = self.width // 2
        self.narrow = [self._conv(half, 1, "B") for _ in range(self.depth)]
        self.spread = [self._conv(half, self.window, "B") for _ in range(self.depth)]
        self.widen = [self._conv(self.width, 1, "B") for _ in range(self.depth)]
        self._last_layers()

    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """({`parameters` [B, H, W, P]}, {})."""
        return {"parameters": self._all(2 * image - 1, None, train=train)}, {}

    def start_row(self, image: Float[Array, "b h w c"], row: Array) -> None:
        """Nothing: this network has one stack."""

    def step(
        self, image: Float[Array, "b h w c"], row: Array, column: Array
    ) -> Float[Array, "b p"]:
        """The parameters of one pixel, of an image whose earlier values are drawn."""
        return self._all(2 * image - 1, (row, column))[:, 0, 0]

    def _all(self, x: Array, at: Position | None, *, train: bool = False) -> Array:
        x = self.first(x, at, width=None if at is None else 1)
        for narrow, spread, widen in zip(self.narrow, self.spread, self.widen):
            y = narrow(nn.relu(x))
            y = spread(nn.relu(y), at)
            x = x + widen(self.drop(nn.relu(y), deterministic=not train))
        return self._parameters(x)


class GatedPixelCNN(MaskedModel):
    """A stack that sees rows above and one that sees its own row, gated (2016b, figure 2).

    Fields and methods as `MaskedModel` says. `condition_classes`: where it is not 0, every gate and
    what it lets through get a bias of the image's label (equation 4), so that the probabilities are
    those given the label; the methods then take it as `label` [B].
    Differs from the paper: the vertical stack reads the image shifted down by a row, which is the
    same as a mask that leaves the row out.
    """

    condition_classes: int = 0

    def setup(self) -> None:
        twice, half = 2 * self.width, self.window // 2
        first = self.first_window // 2
        vertical = {"above": half, "left": half, "right": half}
        horizontal = {"above": 0, "left": half, "right": 0, "blocks": 2}
        self.vertical = [
            self._conv(twice, 1, "rows", **(vertical if i else _first_rows(first)))
            for i in range(self.depth)
        ]
        self.across = [self._conv(twice, 1, "rows") for _ in range(self.depth)]
        self.horizontal = [
            self._conv(twice, 1, "B" if i else "A", **horizontal | ({} if i else {"left": first}))
            for i in range(self.depth)
        ]
        self.out = [self._conv(self.width, 1, "B") for _ in range(self.depth)]
        if self.condition_classes:
            self.class_above = [self._of_class(twice) for _ in range(self.depth)]
            self.class_along = [self._of_class(twice) for _ in range(self.depth)]
        self._last_layers()

    def __call__(
        self, image: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """({`parameters` [B, H, W, P]}, {})."""
        from_above = self._from_above(2 * image - 1, None, label, train=train)
        if self.is_mutable_collection("cache") and not self.is_initializing():
            for i, part in enumerate(from_above):
                self.put_variable("cache", f"from_above{i}", jnp.zeros_like(part[:, :1]))
        parameters = self._along_row(2 * image - 1, from_above, None, label, train=train)
        return {"parameters": parameters}, {}

    def start_row(
        self, image: Float[Array, "b h w c"], row: Array, label: Int[Array, " b"] | None = None
    ) -> None:
        """Computes what a row gets from the rows above it, into the cache."""
        for i, part in enumerate(self._from_above(2 * image - 1, (row, 0), label)):
            self.put_variable("cache", f"from_above{i}", part)

    def step(
        self,
        image: Float[Array, "b h w c"],
        row: Array,
        column: Array,
        label: Int[Array, " b"] | None = None,
    ) -> Float[Array, "b p"]:
        """The parameters of one pixel, of an image whose earlier values are drawn."""
        rows = [self.get_variable("cache", f"from_above{i}") for i in range(self.depth)]
        from_above = [lax.dynamic_slice_in_dim(part, column, 1, axis=2) for part in rows]
        return self._along_row(2 * image - 1, from_above, (row, column), label)[:, 0, 0]

    def _of_class(self, width: int) -> nn.Embed:
        return nn.Embed(self.condition_classes, width, dtype=self.dtype)

    def _told(self, x: Array, by_class: str, layer: int, label: Array | None) -> Array:
        """`x` [B, h, w, 2 width] with the layer's bias of the class, where there are classes."""
        if not self.condition_classes:
            return x
        if label is None:
            raise ValueError(
                "gated_pixel_cnn: model.condition_classes is set, so every example needs its label."
            )
        return x + getattr(self, by_class)[layer](label)[:, None, None]

    def _from_above(
        self, image: Array, at: Position | None, label: Array | None, *, train: bool = False
    ) -> list[Array]:
        """What each layer of the row's stack gets from the other, [B, h, W, 2 width]."""
        x, found = shifted_down(image), []
        for i, (conv, across) in enumerate(zip(self.vertical, self.across)):
            whole = image.shape[2] if i == 0 and at is not None else None
            y = conv(x, at, width=whole)
            found.append(across(y))
            y = self._told(y, "class_above", i, label)
            x = self.drop(_gated(y), deterministic=not train)
        return found

    def _along_row(
        self,
        image: Array,
        from_above: list[Array],
        at: Position | None,
        label: Array | None,
        *,
        train: bool = False,
    ) -> Array:
        x = None
        for i, (conv, out, above) in enumerate(zip(self.horizontal, self.out, from_above)):
            first = x is None
            y = conv(image, at, width=None if at is None else 1) if first else conv(x, at)
            y = self._told(y + above, "class_along", i, label)
            y = out(self.drop(_gated(y), deterministic=not train))
            # The first layer adds nothing to the image itself, which would show every value.
            x = y if first else x + y
        return self._parameters(x)


def _first_rows(half: int) -> dict[str, int]:
    # The shift has gone down one row already.
    return {"above": half - 1, "left": half, "right": half}


def _gated(x: Array) -> Array:
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


VARIANTS = {"pixel_cnn": (PixelCNN, {}), "gated_pixel_cnn": (GatedPixelCNN, {})}
