"""Super-resolution: large pictures from small ones, by SRResNet and SRGAN."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image.color import luma
from cvjax.losses.adversarial import LOSSES
from cvjax.losses.classification import mean
from cvjax.metrics.classification import Mean
from cvjax.metrics.image_quality import psnr, ssim
from cvjax.ops.image_range import to_signed, to_unsigned
from cvjax.tasks.fresh_variables import fresh_variables
from cvjax.tasks.gan import discriminator_held
from cvjax.tasks.problems import raise_problems
from cvjax.tasks.training_pass import training_pass

Tree = Mapping[str, Any]

CONTENT = "content_network"  # the collection of its variables


@dataclass(frozen=True)
class ContentNetwork:
    """A finished network whose features say what is in a picture.

    Attributes:
        variables: its own.
        look: (variables, images [B, H, W, C] in [0, 1]) -> features [B, h, w, D]; preprocessing
            inside.
    """

    variables: Any
    look: Callable[[Any, Array], Float[Array, "b h2 w2 d"]]


@dataclass(frozen=True)
class SuperResolution:
    """What SRResNet and SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802) train for.

    Batches hold `image` [B, H, W, C] in [0, 1], the large pictures; data.mean and data.std stay
    unset. The small ones are made of them by bicubic interpolation with antialiasing. The loss is

        content_weight * content + adversarial_weight * (-log D)     (equation 3)

    and the discriminator's own. The content is the mean squared error, of pixels in [-1, 1]
    (equation 4) or of a finished network's features (equation 5). Without an adversarial weight
    there is no discriminator: that is SRResNet, from which SRGAN starts.

    The content network's variables are the collection `content_network`: no parameters, so nothing
    trains them, and saved with the rest.

    Attributes:
        content_network: what `content` means; made by `cvjax.build.content`.
        content: "pixels"; "fetch:NAME" of `python -m cvjax.pretrained list`; or a file of weights
            of the model `content_model`.
        content_feature: which of that network's features; VGG-19's "stride16" is the paper's
            VGG54, the last convolution before the fifth pooling, after its ReLU.
        content_weight: 0.006 in the paper for VGG's features, 1 for pixels.
        adversarial_weight: 0.001 in the paper.
        loss_name: of the adversarial part, see `cvjax.losses.adversarial`.
        border: pixels at each edge that figures leave out; 4 in the paper.
    """

    shows: ClassVar[tuple[str, ...]] = ("enlarged",)

    model: nn.Module
    content_network: ContentNetwork | None = None
    content: str = "pixels"
    content_model: str = "vgg19"
    content_feature: str = "stride16"
    content_weight: float = 1.0
    adversarial_weight: float = 0.0
    loss_name: str = "non_saturating"
    border: int = 4

    def __post_init__(self) -> None:
        raise_problems(_option_problems(self))

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if channels differ, or the factor does not divide the pictures' sides.
        """
        if info.image_shape is None:
            return
        height, width, channels = info.image_shape
        problems = []
        if channels != self.model.channels:
            problems.append(
                f"model.channels is {self.model.channels}, but {info.name} has images of "
                f"{tuple(info.image_shape)} (h, w, c)."
            )
        factor = self.model.factor
        if height % factor or width % factor:
            problems.append(
                f"model.factor={factor} does not divide {info.name}'s {height}x{width} pixels; set "
                "data.image_size to a multiple."
            )
        raise_problems(problems)

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ..., "batch_stats": ...}, and those of a content network."""
        variables = fresh_variables(self.model, rng, self.reduced(jnp.asarray(batch["image"])))
        if self.content_network is not None:
            variables[CONTENT] = jax.tree.map(jnp.asarray, self.content_network.variables)
        return variables

    def reduced(self, image: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """The small pictures, in [0, 1] as the large ones."""
        factor = self.model.factor
        shape = (len(image), image.shape[1] // factor, image.shape[2] // factor, image.shape[3])
        return jnp.clip(jax.image.resize(image, shape, "cubic", antialias=True), 0, 1)

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array],
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """Both players' losses added, and {"metrics": {name: scalar}, "mutated": {...}}.

        Metrics: `loss`; `content_loss`, without its weight; with an adversarial weight
        `generator_loss`, without it, and `discriminator_loss`.
        """
        del ema
        image, valid = to_signed(batch["image"]), batch.get("valid")
        low, network = self.reduced(batch["image"]), variables.get(CONTENT)
        variables = _of_model(variables)
        apply = partial(training_pass, self.model, rngs=rngs)

        made, mutated = apply(variables, "upscale", low)
        variables = {**variables, **mutated}
        figures = {"content_loss": mean(self._content(network, made, image), valid)}
        loss = self.content_weight * figures["content_loss"]
        if self.adversarial_weight:
            terms = LOSSES[self.loss_name]
            real, after_real = apply(variables, "discriminate", image)
            variables = {**variables, **after_real}
            fake, after = apply(variables, "discriminate", jax.lax.stop_gradient(made))
            judge = {**variables, "params": discriminator_held(variables["params"])}
            judged, _ = apply(judge, "discriminate", made)
            mutated = {**mutated, **after_real, **after}
            figures["generator_loss"] = mean(terms.generator(judged), valid)
            figures["discriminator_loss"] = mean(terms.real(real), valid) + mean(
                terms.fake(fake), valid
            )
            loss += self.adversarial_weight * figures["generator_loss"]
            loss += figures["discriminator_loss"]
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": mutated}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`enlarged` [B, H, W, C] in [0, 1], and by example `psnr` and `ssim` against the image, as
        well as `bicubic_psnr` and `bicubic_ssim`, those of bicubic interpolation.

        Of the luminance Y of YCbCr (16 to 235 of 255), without the border, as the paper has them.
        """
        image, low = batch["image"], self.reduced(batch["image"])
        found, target = {"enlarged": self._enlarged(variables, low)}, self._measured(image)
        for name, made in (("", found["enlarged"]), ("bicubic_", _bicubic(low, image.shape))):
            made = self._measured(made)
            found |= {f"{name}psnr": psnr(made, target), f"{name}ssim": ssim(made, target)}
        return found

    def enlarged(self, variables: Tree, key: Key[Array, ""], batch: Tree) -> dict[str, Array]:
        """`image` [B, 4, H, W, C]: the small picture, bicubic, the network's, the target."""
        del key
        image, low = batch["image"], self.reduced(batch["image"])
        blocks = jax.image.resize(low, image.shape, "nearest")
        made = self._enlarged(variables, low)
        return {"image": jnp.stack([blocks, _bicubic(low, image.shape), made, image], axis=1)}

    def metrics(self) -> type[clu.metrics.Collection]:
        """Means over images: `psnr` in dB, `ssim`, `bicubic_psnr`, `bicubic_ssim`."""
        return clu.metrics.Collection.create(
            psnr=Mean.of(lambda psnr, **_: psnr),
            ssim=Mean.of(lambda ssim, **_: ssim),
            bicubic_psnr=Mean.of(lambda bicubic_psnr, **_: bicubic_psnr),
            bicubic_ssim=Mean.of(lambda bicubic_ssim, **_: bicubic_ssim),
        )

    def _content(self, network: Any, made: Array, image: Array) -> Float[Array, " b"]:
        if self.content_network is None:
            return jnp.square(made - image).mean(axis=(1, 2, 3))
        look = partial(self.content_network.look, network)
        difference = look(to_unsigned(made)) - jax.lax.stop_gradient(look(to_unsigned(image)))
        return jnp.square(difference.astype(jnp.float32)).mean(axis=(1, 2, 3))

    def _enlarged(self, variables: Tree, low: Array) -> Float[Array, "b h w c"]:
        made = self.model.apply(_of_model(variables), low, train=False, method="upscale")
        return jnp.clip(to_unsigned(made), 0, 1)

    def _measured(self, image: Array) -> Float[Array, "b h w 1"]:
        """What figures are made of: 16 + 219 luma of 255, without the border."""
        y = (16 + 219 * jax.vmap(luma)(image)) / 255
        end = -self.border or None
        return y[:, self.border : end, self.border : end]


def _of_model(variables: Tree) -> dict[str, Any]:
    """The variables without the content network's."""
    return {name: tree for name, tree in variables.items() if name != CONTENT}


def _bicubic(low: Array, shape: tuple[int, ...]) -> Array:
    return jnp.clip(jax.image.resize(low, shape, "cubic"), 0, 1)


def _option_problems(task: SuperResolution) -> Iterator[str]:
    if not hasattr(task.model, "factor"):
        yield f"model: {type(task.model).__name__} enlarges nothing; use srresnet or srgan."
    has_discriminator = hasattr(task.model, "discriminate")
    if bool(task.adversarial_weight) != has_discriminator:
        yield (
            f"task.adversarial_weight: got {task.adversarial_weight}, but "
            f"{type(task.model).__name__} has {'a' if has_discriminator else 'no'} discriminator. "
            "srgan takes a positive weight, srresnet none."
        )
    for name in ("content_weight", "adversarial_weight", "border"):
        if getattr(task, name) < 0:
            yield f"task.{name}: got {getattr(task, name)}, expected no negative number."
    if task.loss_name not in LOSSES:
        yield f"task.loss_name: got {task.loss_name!r}, expected one of {', '.join(LOSSES)}."
    if (task.content == "pixels") != (task.content_network is None):
        yield (
            f"task.content={task.content!r}: "
            + ("its network is missing." if task.content_network is None else "it has no network.")
        )
