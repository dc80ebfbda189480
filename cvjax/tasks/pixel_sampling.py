"""Pictures drawn value by value from a model of each pixel given those before it.

Both samplers draw the same pictures from the same key: the plain one runs the whole network for
every value, the cached one computes of each layer what the next pixel needs and no more.
Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models",
https://arxiv.org/abs/1704.06001.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

Tree = Mapping[str, Any]


def sample_plain(
    model: nn.Module,
    variables: Tree,
    key: Key[Array, ""],
    count: int,
    label: Int[Array, " n"] | None = None,
) -> Float[Array, "n h w c"]:
    """`count` pictures in [0, 1], by H W passes through the network, or H W C of them.

    `model` returns ({"parameters": [B, H, W, P]}, ...) and has `image_shape` and `distribution`.
    `label`: for a model that is given the classes.
    """
    _, columns, groups = _sizes(model)
    told = () if label is None else (label,)

    def draw(index: Array, image: Array) -> Array:
        row, column, group = _place(index, columns, groups)
        outputs, _ = model.apply(variables, image, *told, train=False)
        parameters = outputs["parameters"][:, row, column]
        return _drawn(model, key, index, parameters, image, (row, column, group))

    return lax.fori_loop(0, _values(model), draw, _blank(model, count))


def sample_cached(
    model: nn.Module,
    variables: Tree,
    key: Key[Array, ""],
    count: int,
    label: Int[Array, " n"] | None = None,
) -> Float[Array, "n h w c"]:
    """As `sample_plain`, for models with `start_row` and `step` (`pixel_cnn`): about one pass."""
    rows, columns, groups = _sizes(model)
    told = () if label is None else (label,)
    blank = _blank(model, count)

    def whole(image: Array) -> Any:
        return model.apply(variables, image, *told, train=False, mutable=["cache"])[1]

    cache = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(whole, blank))

    def draw_row(row: Array, state: tuple[Array, Tree]) -> tuple[Array, Tree]:
        image, cache = state
        start = (image, row, *told)
        _, cache = model.apply(
            {**variables, **cache}, *start, method="start_row", mutable=["cache"]
        )

        def draw(index: Array, state: tuple[Array, Tree]) -> tuple[Array, Tree]:
            image, cache = state
            _, column, group = _place(index, columns, groups)
            at = (image, row, column, *told)
            parameters, cache = model.apply(
                {**variables, **cache}, *at, method="step", mutable=["cache"]
            )
            index = row * columns * groups + index
            return _drawn(model, key, index, parameters, image, (row, column, group)), cache

        return lax.fori_loop(0, columns * groups, draw, (image, cache))

    return lax.fori_loop(0, rows, draw_row, (blank, cache))[0]


def _drawn(
    model: nn.Module,
    key: Array,
    index: Array,
    parameters: Float[Array, "n p"],
    image: Float[Array, "n h w c"],
    place: tuple[Array, Array, Array],
) -> Float[Array, "n h w c"]:
    """The image with one value more, or one pixel where its channels are drawn together."""
    row, column, group = place
    # A key for each picture and value: neither the count nor the sampler changes what is drawn.
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(image)))
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, index)
    pixel = jax.vmap(model.distribution.sample)(keys, parameters)  # [N, C]
    if model.distribution.groups > 1:
        own = (jnp.arange(pixel.shape[-1]) == group)[None]
        pixel = jnp.where(own, pixel, image[:, row, column])
    return image.at[:, row, column].set(pixel)


def _place(index: Array, columns: int, groups: int) -> tuple[Array, Array, Array]:
    return index // (columns * groups), index // groups % columns, index % groups


def _sizes(model: nn.Module) -> tuple[int, int, int]:
    rows, columns, _ = model.image_shape
    return rows, columns, model.distribution.groups


def _values(model: nn.Module) -> int:
    rows, columns, groups = _sizes(model)
    return rows * columns * groups


def _blank(model: nn.Module, count: int) -> Array:
    return jnp.zeros((count, *model.image_shape))
