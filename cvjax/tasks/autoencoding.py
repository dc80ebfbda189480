"""Autoencoding: an image is to come back from its code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.losses.classification import mean as mean_of
from cvjax.metrics.classification import Mean
from cvjax.tasks.pixel_options import check_image_shape

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Autoencoding:
    """Mean squared error between image and reconstruction.

    Batches hold `image` [B, H, W, C] in [0, 1], without mean and std. The model returns
    `reconstruction` of the same shape (`cvjax.models.generators.autoencoder`).
    """

    # A code has no distribution, so there is nothing to draw from.
    shows: ClassVar[tuple[str, ...]] = ("reconstruct",)

    model: nn.Module

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if image shapes disagree.
        """
        check_image_shape(self.model, info)

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ...}."""
        return dict(self.model.init(rng, batch["image"], train=True))

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array] | None = None,
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {}}.

        Metrics: `loss`, and `squared_error`, which is the same figure: the mean over the batch of
        the squared error a value.
        """
        del ema, rngs
        outputs, _ = self.model.apply(variables, batch["image"], train=True)
        error = _squared_error(outputs["reconstruction"], batch["image"])
        loss = mean_of(error, batch.get("valid"))
        return loss, {"metrics": {"loss": loss, "squared_error": loss}, "mutated": {}}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`squared_error` [B], the mean over values; `code` [B, D]."""
        outputs, _ = self.model.apply(variables, batch["image"], train=False)
        error = _squared_error(outputs["reconstruction"], batch["image"])
        return {"squared_error": error, "code": outputs["code"]}

    def features(self, variables: Tree, batch: Tree) -> dict[str, Array]:
        """The model's features by name, as evaluation sees them."""
        _, features = self.model.apply(variables, batch["image"], train=False)
        return dict(features)

    def metrics(self) -> type[clu.metrics.Collection]:
        """Means of what `predict` returns; `loss` is `squared_error`."""
        return clu.metrics.Collection.create(
            loss=Mean.of(lambda squared_error, **_: squared_error),
            squared_error=Mean.of(lambda squared_error, **_: squared_error),
        )

    def reconstruct(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """Rows of (image, its reconstruction)."""
        del key
        outputs, _ = self.model.apply(variables, batch["image"], train=False)
        made = jnp.clip(outputs["reconstruction"], 0, 1)
        return {"image": jnp.stack([batch["image"], made], axis=1)}


def _squared_error(made: Array, image: Array) -> Float[Array, " b"]:
    return jnp.square(made - image).mean(axis=(1, 2, 3))
