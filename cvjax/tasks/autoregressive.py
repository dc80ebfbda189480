"""Density estimation pixel by pixel: the exact log-likelihood, by the chain rule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.augment import example_keys
from cvjax.image.binarize import Binarize, binarize
from cvjax.losses.classification import mean as mean_of
from cvjax.metrics.classification import Mean
from cvjax.ops.content_keys import content_keys
from cvjax.ops.pixel_distributions import bits_per_dim
from cvjax.tasks.fresh_variables import fresh_variables
from cvjax.tasks.pixel_options import check_image_shape, pixel_option_problems
from cvjax.tasks.pixel_sampling import sample_cached, sample_plain
from cvjax.tasks.problems import raise_problems

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Autoregression:
    """What a model of each pixel given those before it is trained for, and how it is judged.

    log p(image) is the sum over pixels of log p(pixel | pixels before it), exact, so that the
    probabilities of all images sum to 1. Batches hold `image` [B, H, W, C] in [0, 1], without mean
    and std. Where the model has `condition_classes`, they hold `label` [B] too, and it is
    log p(image | label) (van den Oord et al. 2016, https://arxiv.org/abs/1606.05328, equation 3).
    The model returns `parameters` [B, H, W, P] of its pixels' `distribution`
    (`cvjax.models.generators.pixel_cnn`).

    Evaluation draws binary images by keys made of each image: the same figure whatever the batch.

    Attributes:
        binarize: how images become binary, see `cvjax.image.binarize`; "none" leaves them.
    """

    draws: ClassVar[tuple[str, ...]] = ("sample",)

    model: nn.Module
    binarize: Binarize = "none"

    def __post_init__(self) -> None:
        raise_problems(pixel_option_problems(self.model, self.binarize))

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if image shapes, or the number of classes it is given, disagree.
        """
        check_image_shape(self.model, info)

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ...}."""
        return fresh_variables(self.model, rng, batch["image"], *self._label(batch))

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array],
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {}}.

        Metrics, means over the batch: `loss`, which is the negative log-likelihood in nats an
        image; `bits_per_dim`.
        """
        del ema
        keys = example_keys(rngs["noise"], len(batch["image"]))
        nll = self._nll(variables, batch, keys, rngs)
        loss = mean_of(nll, batch.get("valid"))
        figures = {"loss": loss, "bits_per_dim": bits_per_dim(loss, self._dims)}
        return loss, {"metrics": figures, "mutated": {}}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`nll`, in nats, and `bits_per_dim` [B]."""
        keys = content_keys(jax.random.key(0), batch["image"])
        nll = self._nll(variables, batch, keys)
        return {"nll": nll, "bits_per_dim": bits_per_dim(nll, self._dims)}

    def metrics(self) -> type[clu.metrics.Collection]:
        """Means of what `predict` returns; `loss` is `nll`."""
        return clu.metrics.Collection.create(
            loss=Mean.of(lambda nll, **_: nll),
            nll=Mean.of(lambda nll, **_: nll),
            bits_per_dim=Mean.of(lambda bits_per_dim, **_: bits_per_dim),
        )

    def sample(self, variables: Tree, key: Key[Array, ""], count: int) -> dict[str, Array]:
        """`count` pictures, value by value from the corner, with caches where the model has them.

        Where the model is given labels, these are 0, 1, 2 ... in turn.
        """
        sampler = sample_cached if hasattr(self.model, "step") else sample_plain
        classes = getattr(self.model, "condition_classes", 0)
        if not classes:
            return {"image": sampler(self.model, variables, key, count)}
        label = jnp.arange(count) % classes
        return {"image": sampler(self.model, variables, key, count, label), "label": label}

    def _nll(
        self,
        variables: Tree,
        batch: Tree,
        keys: Array,
        rngs: Mapping[str, Array] | None = None,
    ) -> Array:
        """Nats of each image; `rngs` in training alone."""
        # The image's keys are split as `cvjax.tasks.vae` does: both see the same binary images.
        image_keys, _ = jax.vmap(jax.random.split, out_axes=1)(keys)
        image = binarize(image_keys, batch["image"], self.binarize)
        told = self._label(batch)
        outputs, _ = self.model.apply(variables, image, *told, train=rngs is not None, rngs=rngs)
        return -self.model.distribution.log_prob(outputs["parameters"], image).sum(axis=(1, 2))

    def _label(self, batch: Tree) -> tuple[Array, ...]:
        """What the model gets behind the image."""
        return (batch["label"],) if getattr(self.model, "condition_classes", 0) else ()

    @property
    def _dims(self) -> int:
        return math.prod(self.model.image_shape)
