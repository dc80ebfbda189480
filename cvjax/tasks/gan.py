"""Generative adversarial networks: two players in one loss, each blind to the other's gradient."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from cvjax.losses.adversarial import LOSSES, gradient_penalty
from cvjax.losses.classification import mean
from cvjax.metrics.classification import Mean
from cvjax.ops.image_range import to_signed, to_unsigned
from cvjax.ops.latent import PRIORS, draw_latent, lerp, slerp
from cvjax.tasks.fresh_variables import fresh_variables
from cvjax.tasks.problems import raise_problems
from cvjax.tasks.training_pass import training_pass

Tree = Mapping[str, Any]

INTERPOLATION_STEPS = 8


@dataclass(frozen=True)
class GAN:
    """What a generator and a discriminator are trained for, and how the generator is asked.

    Batches hold `image` [B, H, W, C] in [0, 1] (data.mean and data.std stay unset), `label` [B]
    where the model is conditional, and `valid` [B] leaves examples out. The model is a
    `cvjax.nn.two_players.TwoPlayers`: parameters under `generator/` and `discriminator/`, and a
    `latent_dim`. Its images lie in [-1, 1], where the generator's tanh is.

    The loss is the sum of both players'. The discriminator sees the generator's pictures through
    stop_gradient, and the generator sees a discriminator whose parameters are constants, so one
    backward pass gives each its own gradient. Who moves when is the optimizer's business: with
    `optim.groups = (("generator/.*", dict(every=k)), (".*", {}))` the discriminator makes k steps
    for one of the generator's (Goodfellow et al. 2014, algorithm 1).

    Attributes:
        loss_name: "minimax", "non_saturating", "least_squares", "wasserstein" or "hinge", see
            `cvjax.losses.adversarial`.
        gradient_penalty: its factor in the discriminator's loss; 10 is WGAN-GP's, 0 turns it off.
        prior: of the latent vectors, "normal" N(0, 1) or "uniform" in [-1, 1].
    """

    draws: ClassVar[tuple[str, ...]] = ("sample", "interpolation")

    model: nn.Module
    loss_name: str = "non_saturating"
    gradient_penalty: float = 0.0
    prior: str = "normal"

    def __post_init__(self) -> None:
        raise_problems(_option_problems(self))

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if the images made and the data's differ in shape, or a conditional model
                and the data in the number of classes.
        """
        model, problems = self.model, []
        if info.image_shape is not None and tuple(info.image_shape) != tuple(model.image_shape):
            problems.append(
                f"the model makes images of {tuple(model.image_shape)}, but {info.name} has "
                f"{tuple(info.image_shape)} (h, w, c). Set the model's size to the data's, or "
                "data.image_size and data.channels."
            )
        if model.conditional and info.num_classes != model.num_classes:
            problems.append(
                f"model.num_classes is {model.num_classes}, but {info.name} has "
                f"{info.num_classes} classes. Leave model.num_classes out."
            )
        raise_problems(problems)

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ...} and whatever other collections the model keeps."""
        image = jnp.asarray(batch["image"])
        latent = jnp.zeros((len(image), self.model.latent_dim), jnp.float32)
        return fresh_variables(self.model, rng, image, latent, batch.get("label"))

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array],
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """Both players' losses added, and {"metrics": {name: scalar}, "mutated": {...}}.

        Takes rngs["noise"]. Metrics: `loss`, `discriminator_loss` (with the penalty),
        `generator_loss`, `real_score` and `fake_score` (means of the discriminator's scores; their
        difference estimates the Wasserstein distance where the loss is that), and
        `gradient_penalty`, without its factor, where it is on.
        """
        del ema
        image, label, valid = to_signed(batch["image"]), batch.get("label"), batch.get("valid")
        latent_key, mix_key = jax.random.split(rngs["noise"])
        latent = draw_latent(latent_key, len(image), self.model.latent_dim, prior=self.prior)
        terms = LOSSES[self.loss_name]
        apply = partial(training_pass, self.model, rngs=rngs)

        fake, after_generator = apply(variables, "generate", latent, label)
        variables = {**variables, **after_generator}
        shown = jax.lax.stop_gradient(fake)
        real_scores, after_real = apply(variables, "discriminate", image, label)
        variables = {**variables, **after_real}
        fake_scores, after_fake = apply(variables, "discriminate", shown, label)
        # The same forward pass as the line above, which the compiler does once; what differs is
        # what the gradient may reach.
        judge = {**variables, "params": discriminator_held(variables["params"])}
        judged, _ = apply(judge, "discriminate", fake, label)

        discriminator = mean(terms.real(real_scores), valid) + mean(terms.fake(fake_scores), valid)
        figures = {}
        if self.gradient_penalty:
            figures["gradient_penalty"] = mean(
                gradient_penalty(
                    lambda x: apply(variables, "discriminate", x, label)[0],
                    mix_key,
                    image,
                    shown,
                ),
                valid,
            )
            discriminator += self.gradient_penalty * figures["gradient_penalty"]
        generator = mean(terms.generator(judged), valid)
        figures |= {
            "discriminator_loss": discriminator,
            "generator_loss": generator,
            "real_score": mean(real_scores, valid),
            "fake_score": mean(fake_scores, valid),
        }
        loss = discriminator + generator
        mutated = {**after_generator, **after_real, **after_fake}
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": mutated}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`real_score` [B] of the batch's images, `fake_score` [B] of as many made ones.

        The latent vectors are those of rngs["noise"], without it the same ones for every batch.
        """
        image, label = to_signed(batch["image"]), batch.get("label")
        key = jax.random.key(0) if rngs is None else rngs["noise"]
        latent = draw_latent(key, len(image), self.model.latent_dim, prior=self.prior)
        fake = self._generated(variables, latent, label)
        judge = partial(self.model.apply, variables, train=False, method="discriminate")
        return {"real_score": judge(image, label), "fake_score": judge(fake, label)}

    def sample(self, variables: Tree, key: Key[Array, ""], count: int) -> dict[str, Array]:
        """`image` [count, H, W, C] in [0, 1], and their `label` where the model is conditional.

        Image i depends on (key, i) alone, not on `count`; its class is then i modulo the number of
        classes. Images are as evaluation has them, by running statistics.
        """
        latent = draw_latent(key, count, self.model.latent_dim, prior=self.prior)
        return self.generate(variables, latent)

    def interpolation(self, variables: Tree, key: Key[Array, ""], count: int) -> dict[str, Array]:
        """`image` [R, 8, H, W, C]: each row leads from one latent vector to another, of one class.

        R is count / 8, at least 1. Along great circles for the normal prior, straight lines for
        the uniform one.
        """
        rows = max(1, count // INTERPOLATION_STEPS)
        ends = draw_latent(key, 2 * rows, self.model.latent_dim, prior=self.prior)
        way = slerp if self.prior == "normal" else lerp
        latent = way(ends[:rows], ends[rows:], INTERPOLATION_STEPS)  # [R, 8, D]
        label = jnp.repeat(jnp.arange(rows), INTERPOLATION_STEPS)
        image = self.generate(variables, latent.reshape(-1, latent.shape[-1]), label)["image"]
        return {"image": image.reshape(rows, INTERPOLATION_STEPS, *image.shape[1:])}

    def generate(
        self,
        variables: Tree,
        latent: Float[Array, "b d"],
        label: Int[Array, " b"] | None = None,
    ) -> dict[str, Array]:
        """What `sample` returns, of these latent vectors; `label` counts modulo the classes, and
        is 0, 1, ... where it is needed and not given."""
        if not self.model.conditional:
            return {"image": to_unsigned(self._generated(variables, latent, None))}
        label = (jnp.arange(len(latent)) if label is None else label) % self.model.num_classes
        return {"image": to_unsigned(self._generated(variables, latent, label)), "label": label}

    def _generated(
        self, variables: Tree, latent: Array, label: Array | None
    ) -> Float[Array, "b h w c"]:
        return self.model.apply(variables, latent, label, train=False, method="generate")

    def metrics(self) -> type[clu.metrics.Collection]:
        """`real_score`, `fake_score`: means of what the discriminator says of images."""
        return clu.metrics.Collection.create(
            real_score=Mean.of(lambda real_score, **_: real_score),
            fake_score=Mean.of(lambda fake_score, **_: fake_score),
        )


def discriminator_held(params: Tree) -> dict[str, Any]:
    """The parameters, with the discriminator's as constants."""
    return {**params, "discriminator": jax.lax.stop_gradient(params["discriminator"])}


def _option_problems(task: GAN) -> Iterator[str]:
    for name in ("latent_dim", "image_shape", "conditional"):
        if not hasattr(task.model, name):
            yield (
                f"model: {type(task.model).__name__} has no {name}; a GAN needs a model of two "
                "players, such as dcgan, sngan or mlp_gan."
            )
    if task.loss_name not in LOSSES:
        yield f"task.loss_name: got {task.loss_name!r}, expected one of {', '.join(LOSSES)}."
    if task.prior not in PRIORS:
        yield f"task.prior: got {task.prior!r}, expected one of {', '.join(PRIORS)}."
    if task.gradient_penalty < 0:
        yield f"task.gradient_penalty: got {task.gradient_penalty}, expected no negative factor."
    elif task.gradient_penalty and getattr(task.model, "batch_norm", False):
        yield (
            "task.gradient_penalty: it is each image's own, which batch normalisation mixes. Set "
            "model.batch_norm=False."
        )
