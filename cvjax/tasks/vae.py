"""Variational autoencoding: a bound on the log-likelihood is made as tight as can be."""

import math
from collections.abc import Iterator, Mapping
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
from cvjax.losses.likelihood import (
    gaussian_kl,
    gaussian_kl_by_dimension,
    gaussian_log_density,
    importance_bound,
)
from cvjax.metrics.classification import Mean
from cvjax.ops.content_keys import content_keys
from cvjax.ops.pixel_distributions import bits_per_dim
from cvjax.tasks.pixel_options import check_image_shape, pixel_option_problems
from cvjax.tasks.problems import raise_problems

Tree = Mapping[str, Any]

# Columns of the grids: pictures from one end to the other.
_STEPS = 11
_MAX_ROWS = 10


@dataclass(frozen=True)
class VAETask:
    """What a variational autoencoder is trained for, how it is judged and what it draws.

    Batches hold `image` [B, H, W, C] in [0, 1], without mean and std, and `label` [B] where the
    model has `condition_classes`. The model has the two halves `encode` and `decode` and a pixel's
    `distribution` (`cvjax.models.generators.vae`).

    Figures are nats an image, except `bits_per_dim`. Evaluation draws its noise, of the binary
    images and of the latents, by keys made of each image: the same figure whatever the batch size.

    Attributes:
        binarize: how images become binary, see `cvjax.image.binarize`; "none" leaves them.
        beta: factor on the KL in training (Higgins et al. 2017); 1 is the ELBO.
        objective: "elbo" (its mean over samples), or "iwae", the bound of Burda et al. 2016.
        samples: latents an image, in training.
    """

    draws: ClassVar[tuple[str, ...]] = ("sample",)
    shows: ClassVar[tuple[str, ...]] = ("reconstruct", "traverse", "interpolate")

    model: nn.Module
    binarize: Binarize = "dynamic"
    beta: float = 1.0
    objective: str = "elbo"
    samples: int = 1

    def __post_init__(self) -> None:
        raise_problems([*pixel_option_problems(self.model, self.binarize), *_option_problems(self)])

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if image shapes, or the number of classes it is given, disagree.
        """
        check_image_shape(self.model, info)

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ...}."""
        params_rng, noise_rng = jax.random.split(rng)
        rngs = {"params": params_rng, "noise": noise_rng}
        return dict(self.model.init(rngs, batch["image"], self._label(batch), train=True))

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array],
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {}}.

        Metrics, means over the batch: `loss`; `nll_elbo`, the negative ELBO, and its parts
        `reconstruction_nll` and `kl_divergence`; `bits_per_dim` of `nll_elbo`.
        """
        del ema
        keys = example_keys(rngs["noise"], len(batch["image"]))
        found = self._terms(variables, batch, keys, self.samples)
        if self.objective == "iwae":
            loss = -importance_bound(found.pop("log_weights"))
        else:
            loss = found["reconstruction_nll"] + self.beta * found["kl_divergence"]
        found.pop("log_weights", None)
        figures = {name: mean_of(x, batch.get("valid")) for name, x in found.items()}
        loss = mean_of(loss, batch.get("valid"))
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": {}}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`nll_elbo`, `reconstruction_nll`, `kl_divergence`, `bits_per_dim` [B], of one latent."""
        found = self._terms(variables, batch, self._content_keys(batch), 1)
        del found["log_weights"]
        return found

    def importance_bound(
        self, variables: Tree, batch: Tree, *, samples: int
    ) -> dict[str, Float[Array, " b"]]:
        """`nll_iwae` [B], minus the bound of Burda et al. from so many latents, and its
        `bits_per_dim`; one latent after the other, so that memory does not limit them."""
        keys = self._content_keys(batch)

        def weigh(total: Array, index: Array) -> tuple[Array, None]:
            found = self._terms(variables, batch, keys, 1, index=index)
            return jnp.logaddexp(total, found["log_weights"][0]), None

        start = jnp.full(len(batch["image"]), -jnp.inf)
        total, _ = jax.lax.scan(weigh, start, jnp.arange(samples))
        nll = math.log(samples) - total
        return {"nll_iwae": nll, "bits_per_dim": bits_per_dim(nll, self._dims)}

    def features(self, variables: Tree, batch: Tree) -> dict[str, Array]:
        """The model's features by name, as evaluation sees them."""
        image, label = self._evaluated_image(batch), self._label(batch)
        _, features = self.model.apply(variables, image, label, train=False)
        return dict(features)

    def metrics(self) -> type[clu.metrics.Collection]:
        """Means of what `predict` returns; `loss` is `nll_elbo`, without beta, so runs compare."""
        return clu.metrics.Collection.create(
            loss=Mean.of(lambda nll_elbo, **_: nll_elbo),
            nll_elbo=Mean.of(lambda nll_elbo, **_: nll_elbo),
            reconstruction_nll=Mean.of(lambda reconstruction_nll, **_: reconstruction_nll),
            kl_divergence=Mean.of(lambda kl_divergence, **_: kl_divergence),
            bits_per_dim=Mean.of(lambda bits_per_dim, **_: bits_per_dim),
        )

    def bound_metrics(self) -> type[clu.metrics.Collection]:
        """Means of what `importance_bound` returns."""
        return clu.metrics.Collection.create(
            nll_iwae=Mean.of(lambda nll_iwae, **_: nll_iwae),
            bits_per_dim=Mean.of(lambda bits_per_dim, **_: bits_per_dim),
        )

    def sample(self, variables: Tree, key: Key[Array, ""], count: int) -> dict[str, Array]:
        """Mean pictures of `count` latents from the prior, all pixels at once.

        Where the model is given labels, these are 0, 1, 2 ... in turn.
        """
        z = jax.random.normal(key, (count, self.model.latent))
        if not self.model.condition_classes:
            return {"image": self._picture(variables, z, None)}
        label = jnp.arange(count) % self.model.condition_classes
        return {"image": self._picture(variables, z, label), "label": label}

    def reconstruct(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """Rows of (image as the model sees it, its reconstruction from the posterior's mean)."""
        del key
        image, mean, _ = self._encoded(variables, batch)
        made = self._picture(variables, mean, self._label(batch))
        return {"image": jnp.stack([image, made], axis=1)}

    def traverse(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """A row for each of the dimensions that tell most about the batch, at most 10.

        The first example's latent, with that dimension at evenly spaced quantiles of the prior, 2%
        to 98%; by falling KL. Kingma and Welling, appendix A.
        """
        del key
        _, mean, log_variance = self._encoded(variables, batch)
        told = gaussian_kl_by_dimension(mean, log_variance).mean(axis=0)
        rows = min(self.model.latent, _MAX_ROWS)
        chosen = jnp.argsort(-told)[:rows]
        values = jax.scipy.stats.norm.ppf(jnp.linspace(0.02, 0.98, _STEPS))
        start = jnp.broadcast_to(mean[0], (rows, _STEPS, self.model.latent))
        at = jax.nn.one_hot(chosen, self.model.latent)[:, None]  # [R, 1, D]
        z = start * (1 - at) + values[None, :, None] * at
        return {"image": self._picture(variables, z, self._first_label(batch, (rows, _STEPS)))}

    def interpolate(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """Rows from one example's latent in a straight line to the next one's, at most 10.

        Where the model is given labels, all are given the first example's.
        """
        del key
        _, mean, _ = self._encoded(variables, batch)
        rows = max(1, min(len(mean) // 2, _MAX_ROWS))
        pairs = mean[: 2 * rows].reshape(rows, -1, 1, self.model.latent)
        share = jnp.linspace(0.0, 1.0, _STEPS)[None, :, None]
        z = (1 - share) * pairs[:, 0] + share * pairs[:, -1]
        return {"image": self._picture(variables, z, self._first_label(batch, (rows, _STEPS)))}

    def _terms(
        self,
        variables: Tree,
        batch: Tree,
        keys: Key[Array, " b"],
        samples: int,
        *,
        index: Array | int = 0,
    ) -> dict[str, Array]:
        """The bound's parts [B], and the log weights [S, B] of the latents.

        Another `index` means other latents for the same binary images.
        """
        image_keys, latent_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        image = binarize(image_keys, batch["image"], self.binarize)
        label = self._label(batch)
        mean, log_variance = self.model.apply(variables, image, label, method="encode")
        latent_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(latent_keys, index)
        shape = (samples, self.model.latent)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape), out_axes=1)(latent_keys)
        z = mean[None] + jnp.exp(log_variance / 2)[None] * noise  # [S, B, D]
        if label is not None:
            label = jnp.broadcast_to(label, z.shape[:-1])
        parameters = self.model.apply(variables, z, label, method="decode")
        image = jnp.broadcast_to(image, (samples, *image.shape))
        log_px = self.model.distribution.log_prob(parameters, image).sum(axis=(-2, -1))  # [S, B]
        nothing = jnp.zeros_like(z)
        log_pz = gaussian_log_density(z, nothing, nothing)
        spread = jnp.broadcast_to(mean, z.shape), jnp.broadcast_to(log_variance, z.shape)
        nll, kl = -log_px.mean(axis=0), gaussian_kl(mean, log_variance)
        return {
            "nll_elbo": nll + kl,
            "reconstruction_nll": nll,
            "kl_divergence": kl,
            "bits_per_dim": bits_per_dim(nll + kl, self._dims),
            "log_weights": log_px + log_pz - gaussian_log_density(z, *spread),
        }

    def _encoded(self, variables: Tree, batch: Tree) -> tuple[Array, Array, Array]:
        image, label = self._evaluated_image(batch), self._label(batch)
        return image, *self.model.apply(variables, image, label, method="encode")

    def _picture(self, variables: Tree, z: Array, label: Array | None) -> Array:
        parameters = self.model.apply(variables, z, label, method="decode")
        return self.model.distribution.mean(parameters)

    def _label(self, batch: Tree) -> Array | None:
        return batch["label"] if self.model.condition_classes else None

    def _first_label(self, batch: Tree, shape: tuple[int, ...]) -> Array | None:
        label = self._label(batch)
        return None if label is None else jnp.broadcast_to(label[0], shape)

    def _evaluated_image(self, batch: Tree) -> Array:
        """As `predict` sees it."""
        image_keys, _ = jax.vmap(jax.random.split, out_axes=1)(self._content_keys(batch))
        return binarize(image_keys, batch["image"], self.binarize)

    def _content_keys(self, batch: Tree) -> Array:
        return content_keys(jax.random.key(0), batch["image"])

    @property
    def _dims(self) -> int:
        return math.prod(self.model.image_shape)


def _option_problems(task: VAETask) -> Iterator[str]:
    if task.objective not in ("elbo", "iwae"):
        yield f"task.objective: got {task.objective!r}, expected elbo or iwae."
    if task.objective == "iwae" and task.beta != 1:
        yield f"task.beta: got {task.beta}, but the bound iwae has no KL to weigh. Leave it at 1."
    if task.beta < 0:
        yield f"task.beta: got {task.beta}, expected no negative factor."
    if task.samples < 1:
        yield f"task.samples: got {task.samples}, expected at least 1."
