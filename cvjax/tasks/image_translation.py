"""Image to image: pix2pix, which learns from pairs, and CycleGAN, which learns from two heaps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.conditions import CONDITIONS
from cvjax.losses.adversarial import LOSSES
from cvjax.losses.classification import mean
from cvjax.metrics.classification import Mean
from cvjax.metrics.image_quality import psnr, ssim
from cvjax.ops.image_pool import empty_pool, exchange
from cvjax.ops.image_range import to_signed, to_unsigned
from cvjax.tasks.gan import discriminator_held
from cvjax.tasks.problems import raise_problems
from cvjax.tasks.training_pass import training_pass

Tree = Mapping[str, Any]

SEMANTIC = "semantic"  # beside those that are made of the picture itself
POOL = "image_pool"


@dataclass(frozen=True)
class Pix2Pix:
    """What pix2pix (Isola et al. 2017, https://arxiv.org/abs/1611.07004) is trained for.

    Batches hold `image` [B, H, W, C] in [0, 1], the target; data.mean and data.std stay unset. The
    condition is made of it (`cvjax.image.conditions`), or is the label map `semantic` [B, H, W],
    one channel a class. The generator minimises its adversarial loss plus l1_weight times the mean
    absolute error; the discriminator, who sees the condition too, half of its own (section 3.3).

    Attributes:
        condition: "grey" (colouring), "masked" (inpainting), "low_resolution" (super-resolution),
            "edges" (edges to photo) or "semantic" (label map to scene).
        label_classes: values of the label map, the background included; others, such as 255, are
            no class.
        loss_name: see `cvjax.losses.adversarial`.
        l1_weight: the paper's 100, for values in [-1, 1].
    """

    shows: ClassVar[tuple[str, ...]] = ("translation",)

    model: nn.Module
    condition: str = "grey"
    label_classes: int = 0
    loss_name: str = "non_saturating"
    l1_weight: float = 100.0

    def __post_init__(self) -> None:
        raise_problems(_pix2pix_problems(self))

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if images differ in shape.
        """
        size, channels = self.model.image_size, self.model.channels
        if info.image_shape is not None and tuple(info.image_shape) != (size, size, channels):
            raise ValueError(
                f"the model makes images of {(size, size, channels)}, but {info.name} has "
                f"{tuple(info.image_shape)} (h, w, c). Set model.image_size and model.channels, or "
                "data.image_size and data.channels."
            )

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ..., "batch_stats": ...}."""
        params_rng, dropout_rng = jax.random.split(rng)
        rngs = {"params": params_rng, "dropout": dropout_rng}
        condition = self.conditions(dropout_rng, batch)
        return dict(self.model.init(rngs, condition, to_signed(batch["image"]), train=True))

    def conditions(self, key: Key[Array, ""], batch: Tree) -> Float[Array, "b h w k"]:
        """What the generator gets for each example, in [-1, 1]; example i by `fold_in(key, i)`.

        Raises:
            ValueError: if there is no label map in the batch where one is asked for.
        """
        if self.condition == SEMANTIC:
            if SEMANTIC not in batch:
                raise ValueError(
                    f"task.condition='semantic': the batch has only {sorted(batch)}. Use a source "
                    "with label maps, such as scenes with data.options.targets=('semantic',)."
                )
            return to_signed(jax.nn.one_hot(batch[SEMANTIC], self.label_classes))
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(batch["image"])))
        return to_signed(jax.vmap(CONDITIONS[self.condition])(keys, batch["image"]))

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array],
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """Both players' losses added, and {"metrics": {name: scalar}, "mutated": {...}}.

        Metrics: `loss`, `discriminator_loss`, `generator_loss` (adversarial), `l1` (mean absolute
        error of values in [-1, 1]).
        """
        del ema
        image, valid = to_signed(batch["image"]), batch.get("valid")
        condition = self.conditions(rngs["noise"], batch)
        terms = LOSSES[self.loss_name]

        fake, after = training_pass(self.model, variables, "translate", condition, rngs=rngs)
        variables, mutated = {**variables, **after}, {**after}
        real, after = training_pass(
            self.model, variables, "discriminate", condition, image, rngs=rngs
        )
        variables, mutated = {**variables, **after}, {**mutated, **after}
        shown = jax.lax.stop_gradient(fake)
        made, after = training_pass(
            self.model, variables, "discriminate", condition, shown, rngs=rngs
        )
        judge = {**variables, "params": discriminator_held(variables["params"])}
        judged, _ = training_pass(self.model, judge, "discriminate", condition, fake, rngs=rngs)

        figures = {
            "discriminator_loss": 0.5
            * (mean(_places(terms.real(real)), valid) + mean(_places(terms.fake(made)), valid)),
            "generator_loss": mean(_places(terms.generator(judged)), valid),
            "l1": mean(_absolute_error(fake, image), valid),
        }
        loss = figures["discriminator_loss"] + figures["generator_loss"]
        loss += self.l1_weight * figures["l1"]
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": {**mutated, **after}}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`translated` [B, H, W, C] in [0, 1], and by example `l1`, `psnr` and `ssim` against the
        image; but for label maps, `condition_l1` of the condition left as it is.

        The conditions' random parts are rngs["noise"]'s, without it those of a fixed key.
        """
        key = jax.random.key(0) if rngs is None else rngs["noise"]
        condition, image = self.conditions(key, batch), batch["image"]
        translated = self._translated(variables, condition)
        figures = {
            "translated": translated,
            "l1": _absolute_error(translated, image),
            "psnr": psnr(translated, image),
            "ssim": ssim(translated, image),
        }
        if self.condition != SEMANTIC:
            figures["condition_l1"] = _absolute_error(to_unsigned(condition), image)
        return figures

    def translation(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """`image` [B, 3, H, W, C]: condition, translation, target; label maps by colour."""
        condition, target = self.conditions(key, batch), batch["image"]
        made = self._translated(variables, condition)
        seen = to_unsigned(condition)
        if self.condition == SEMANTIC:
            seen = jnp.einsum("bhwk,kc->bhwc", seen, _label_colors(seen.shape[-1], made.shape[-1]))
        seen = jnp.broadcast_to(seen, made.shape)
        return {"image": jnp.stack([seen, made, target], axis=1)}

    def metrics(self) -> type[clu.metrics.Collection]:
        """`l1`, mean absolute error of values in [0, 1]; `psnr` in dB, `ssim`, means over images
        (`cvjax.metrics.image_quality`); `condition_l1`, the error of doing nothing."""
        figures = {
            "l1": Mean.of(lambda l1, **_: l1),
            "psnr": Mean.of(lambda psnr, **_: psnr),
            "ssim": Mean.of(lambda ssim, **_: ssim),
        }
        if self.condition != SEMANTIC:
            figures["condition_l1"] = Mean.of(lambda condition_l1, **_: condition_l1)
        return clu.metrics.Collection.create(**figures)

    def _translated(self, variables: Tree, condition: Array) -> Float[Array, "b h w c"]:
        return to_unsigned(self.model.apply(variables, condition, train=False, method="translate"))


@dataclass(frozen=True)
class CycleGAN:
    """What CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593) is trained for.

    Batches hold an even number of `image` [B, H, W, C] in [0, 1]. The first half, after
    `condition`, is set a, the second half set b: never two views of one picture, so that nothing
    is paired. The loss is LSGAN's for both sets, plus `cycle_weight` times the absolute error of
    going there and back, plus `identity_weight` times that of translating what is already there.

    Discriminators see earlier translations by a store of `pool_size` pictures a set, which is the
    collection `image_pool` of the variables.

    Attributes:
        condition: what makes set a, as `Pix2Pix.condition`; not "semantic".
        cycle_weight: the paper's 10.
        identity_weight: 5 in the paper, where colours are to stay (section 5.2).
        pool_size: the paper's 50.
    """

    shows: ClassVar[tuple[str, ...]] = ("translation",)

    model: nn.Module
    condition: str = "grey"
    loss_name: str = "least_squares"
    cycle_weight: float = 10.0
    identity_weight: float = 5.0
    pool_size: int = 50

    def __post_init__(self) -> None:
        raise_problems(_cycle_problems(self))

    def check(self, info: Any) -> None:
        """Raises ValueError if the data's images have other channels than the model's."""
        if info.image_shape is not None and info.image_shape[-1] != self.model.channels:
            raise ValueError(
                f"model.channels is {self.model.channels}, but {info.name} has images of "
                f"{tuple(info.image_shape)} (h, w, c)."
            )

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables and empty pools."""
        image = to_signed(batch["image"])
        pools = {name: empty_pool(self.pool_size, image.shape[1:]) for name in ("a", "b")}
        return {**self.model.init({"params": rng}, image, train=True), POOL: pools}

    def sets(self, key: Key[Array, ""], batch: Tree) -> dict[str, Float[Array, "b h w c"]]:
        """{"a": first half after the condition, "b": second half}, in [-1, 1].

        Raises:
            ValueError: for an odd number of images.
        """
        image = batch["image"]
        if len(image) % 2:
            raise ValueError(
                f"cycle_gan: a batch of {len(image)} has no two halves. Use an even "
                "data.batch_size."
            )
        half = len(image) // 2
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(half))
        a = jax.vmap(CONDITIONS[self.condition])(keys, image[:half])
        a = jnp.broadcast_to(a, image[:half].shape)
        return {"a": to_signed(a), "b": to_signed(image[half:])}

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array],
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """All four networks' losses added, and {"metrics": {name: scalar}, "mutated": {...}}.

        Metrics: `loss`, `discriminator_loss`, `generator_loss` (adversarial), `cycle_loss`,
        `identity_loss`, without their weights, each summed over both sets.
        """
        del ema
        if "valid" in batch:
            raise ValueError("cycle_gan: training takes whole batches, without `valid`.")
        condition_key, pool_key = jax.random.split(rngs["noise"])
        real = self.sets(condition_key, batch)
        pools = variables[POOL]
        networks = {name: tree for name, tree in variables.items() if name != POOL}
        held = {**networks, "params": discriminator_held(networks["params"])}
        terms = LOSSES[self.loss_name]

        def translate(image: Array, to: str) -> Array:
            return self.model.apply(networks, image, to, train=True, method="translate")

        def discriminate(variables: Tree, image: Array, of: str) -> Array:
            return self.model.apply(variables, image, of, train=True, method="discriminate")

        figures = dict.fromkeys(
            ("discriminator_loss", "generator_loss", "cycle_loss", "identity_loss"), 0.0
        )
        after = {}
        for here, there, key in zip("ab", "ba", jax.random.split(pool_key)):
            fake = translate(real[here], there)
            figures["generator_loss"] += terms.generator(discriminate(held, fake, there)).mean()
            figures["cycle_loss"] += jnp.abs(translate(fake, here) - real[here]).mean()
            if self.identity_weight:
                figures["identity_loss"] += jnp.abs(translate(real[here], here) - real[here]).mean()
            shown, after[there] = exchange(pools[there], key, jax.lax.stop_gradient(fake))
            figures["discriminator_loss"] += 0.5 * (
                terms.real(discriminate(networks, real[there], there)).mean()
                + terms.fake(discriminate(networks, shown, there)).mean()
            )
        loss = figures["discriminator_loss"] + figures["generator_loss"]
        loss += self.cycle_weight * figures["cycle_loss"]
        loss += self.identity_weight * figures["identity_loss"]
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": {POOL: after}}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """By example, with the image as one of set b: `cycle_error` b -> a -> b; `l1`, how far
        the translation of its own condition is from it, and `condition_l1`, how far that is
        untranslated; means of values in [0, 1]."""
        key = jax.random.key(0) if rngs is None else rngs["noise"]
        condition, there, back = self._translations(variables, key, batch)
        answers = {"cycle_error": back, "l1": there, "condition_l1": condition}
        return {
            name: _absolute_error(to_unsigned(answer), batch["image"])
            for name, answer in answers.items()
        }

    def translation(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """`image` [B, 4, H, W, C]: one of set a, translated to b; one of b, through a and back."""
        condition, there, back = self._translations(variables, key, batch)
        image = batch["image"]
        shown = [to_unsigned(condition), to_unsigned(there), image, to_unsigned(back)]
        return {"image": jnp.stack(shown, axis=1)}

    def metrics(self) -> type[clu.metrics.Collection]:
        """`cycle_error`, `l1` and `condition_l1`, see `predict`."""
        return clu.metrics.Collection.create(
            cycle_error=Mean.of(lambda cycle_error, **_: cycle_error),
            l1=Mean.of(lambda l1, **_: l1),
            condition_l1=Mean.of(lambda condition_l1, **_: condition_l1),
        )

    def _translations(
        self, variables: Tree, key: Key[Array, ""], batch: Tree
    ) -> tuple[Array, Array, Array]:
        """(condition, its translation to b, the image by way of a), in [-1, 1]."""
        image = batch["image"]
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(image)))
        condition = jax.vmap(CONDITIONS[self.condition])(keys, image)
        condition = to_signed(jnp.broadcast_to(condition, image.shape))
        networks = {name: tree for name, tree in variables.items() if name != POOL}

        def translate(image: Array, to: str) -> Array:
            return self.model.apply(networks, image, to, train=False, method="translate")

        back = translate(translate(to_signed(image), "a"), "b")
        return condition, translate(condition, "b"), back


def _absolute_error(
    answer: Float[Array, "b h w _"], image: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """The mean over a picture's values; an answer of one channel is grey."""
    return jnp.abs(answer - image).mean(axis=(1, 2, 3))


def _places(values: Float[Array, "b p q"]) -> Float[Array, " b"]:
    """The mean over patches."""
    return values.mean(axis=(1, 2))


def _label_colors(classes: int, channels: int) -> Float[Array, "k c"]:
    """A colour a class, by golden steps through each channel; the background is black."""
    steps = jnp.arange(classes)[:, None] * jnp.array([[0.618, 0.382, 0.236]])
    return jnp.where(jnp.arange(classes)[:, None] == 0, 0.0, (steps + 0.3) % 1.0)[:, :channels]


def _common_problems(task: Any, fields: tuple[str, ...], name: str) -> Iterator[str]:
    missing = [field for field in fields if not hasattr(task.model, field)]
    if missing:
        yield f"model: {type(task.model).__name__} has no {missing}; use the model {name}."
    if task.loss_name not in LOSSES:
        yield f"task.loss_name: got {task.loss_name!r}, expected one of {', '.join(LOSSES)}."


def _pix2pix_problems(task: Pix2Pix) -> Iterator[str]:
    yield from _common_problems(task, ("image_size", "channels", "patch_layers"), "pix2pix")
    known = (*CONDITIONS, SEMANTIC)
    if task.condition not in known:
        yield f"task.condition: got {task.condition!r}, expected one of {', '.join(known)}."
    if (task.condition == SEMANTIC) != (task.label_classes > 0):
        yield (
            f"task.label_classes: got {task.label_classes} for task.condition={task.condition!r}; "
            "a label map needs its number of values, the others have none."
        )
    if task.l1_weight < 0:
        yield f"task.l1_weight: got {task.l1_weight}, expected no negative weight."


def _cycle_problems(task: CycleGAN) -> Iterator[str]:
    yield from _common_problems(task, ("blocks", "channels", "patch_layers"), "cycle_gan")
    if task.condition not in CONDITIONS:
        yield f"task.condition: got {task.condition!r}, expected one of {', '.join(CONDITIONS)}."
    for name in ("cycle_weight", "identity_weight"):
        if getattr(task, name) < 0:
            yield f"task.{name}: got {getattr(task, name)}, expected no negative weight."
    if task.pool_size < 1:
        yield f"task.pool_size: got {task.pool_size}, expected at least 1."
