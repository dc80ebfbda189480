"""Image classification: one label an image, by softmax, one-vs-rest sigmoids or a hinge."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cvjax.losses import classification as losses
from cvjax.losses.regularization import WEIGHTS, elastic_penalty
from cvjax.metrics import classification as metrics
from cvjax.tasks.class_count import check_class_count
from cvjax.tasks.fresh_variables import fresh_variables
from cvjax.tasks.problems import raise_problems

Tree = Mapping[str, Any]

LOSSES = ("softmax", "sigmoid", "hinge", "squared_hinge")
REDUCTIONS = ("mean", "sum")

# A larger confusion matrix (int32) would take more than 16 MB, and nobody could look at it.
MAX_CONFUSION_CLASSES = 2000
# A mean probability that has rounded to 0 is not certainty.
_TINY = 1e-30


@dataclass(frozen=True)
class Classification:
    """What a classifier is trained for, how it answers and how it is judged.

    Batches hold `image` [B, H, W, C] float and `label` [B]; `valid` [B] leaves padding out, and
    `mixed_label` with `mix_weight` (mixup, cutmix) mean the loss
    (1 - mix_weight) * L(label) + mix_weight * L(mixed_label).

    Attributes:
        model: returns (logits, features) and has a field `num_classes`.
        loss_name: "softmax"; "sigmoid" (one-vs-rest, summed over classes); "hinge" and
            "squared_hinge" (multiclass SVM).
        label_smoothing: in [0, 1), for softmax and sigmoid; in training only.
        class_weights: one factor per class for softmax, normalised as torch does; () for none.
        margin: of the hinges.
        reduction: "mean" or "sum" over the batch, in training.
        l1, l2: l1 * sum |w| + l2 * sum w^2 is added in training.
        penalty_paths: which parameters l1 and l2 are about, a regular expression for whole paths.
        calibration_bins: bins of the expected calibration error.
        aux_weight: aux_weight * L(logits) is added in training for each of the model's auxiliary
            heads, whose logits are features["aux1_logits"] and so on; 0.3 is GoogLeNet's.
    """

    model: nn.Module
    loss_name: str = "softmax"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    margin: float = 1.0
    reduction: str = "mean"
    l1: float = 0.0
    l2: float = 0.0
    penalty_paths: str = WEIGHTS
    calibration_bins: int = 15
    aux_weight: float = 0.3

    def __post_init__(self) -> None:
        raise_problems(_option_problems(self))

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if their numbers of classes disagree.
        """
        check_class_count(self.model, info)

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ...} and whatever other collections the model keeps."""
        return fresh_variables(self.model, rng, _image(batch))

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array] | None = None,
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {collection: tree}}.

        Metrics: `loss`, the value that is minimised; `accuracy` of the batch as the model saw it,
        for mixed examples against the label with the larger share; `penalty`, if there is one;
        `aux_loss`, what the auxiliary heads add, if there are any.
        `ema` is part of every task's signature and classification, having no teacher, takes none.
        """
        del ema
        collections = [name for name in variables if name != "params"]
        (logits, features), mutated = self.model.apply(
            variables, _image(batch), train=True, rngs=rngs, mutable=collections
        )
        loss = self._batch_loss(logits, batch)
        figures = {}
        auxiliary = [x for name, x in features.items() if re.fullmatch(r"aux\d+_logits", name)]
        if auxiliary:
            figures["aux_loss"] = self.aux_weight * sum(
                self._batch_loss(logits, batch) for logits in auxiliary
            )
            loss = loss + figures["aux_loss"]
        if self.l1 or self.l2:
            figures["penalty"] = elastic_penalty(
                variables["params"], l1=self.l1, l2=self.l2, paths=self.penalty_paths
            )
            loss = loss + figures["penalty"]
        dominant = batch["label"]
        if "mixed_label" in batch:
            dominant = jnp.where(batch["mix_weight"] > 0.5, batch["mixed_label"], dominant)
        hits = metrics.in_top_k(logits, dominant, 1).astype(jnp.float32)
        figures |= {"loss": loss, "accuracy": losses.mean(hits, batch.get("valid"))}
        return loss, {"metrics": figures, "mutated": dict(mutated)}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`logits` [B, K] float32 and, unless trained by a hinge, `probability` [B, K]."""
        logits, _ = self.model.apply(variables, _image(batch), train=False, rngs=rngs)
        logits = logits.astype(jnp.float32)
        return {"logits": logits, **self._probability(logits)}

    def averaged(self, outputs: Tree, of: str = "probability") -> dict[str, Array]:
        """One prediction of several, stacked along the first axis of `predict`'s outputs.

        The mean of the probabilities, or with `of="logits"` of the logits; the other of the two
        follows from it.

        Raises:
            ValueError: if `of` is neither, or a hinge is asked for probabilities.
        """
        if of not in ("probability", "logits"):
            raise ValueError(f"average={of!r}: the mean is of 'probability' or of 'logits'.")
        if of == "logits":
            logits = outputs["logits"].mean(axis=0)
            return {"logits": logits, **self._probability(logits)}
        if "probability" not in outputs:
            raise ValueError(
                f"average='probability': a {self.loss_name} has none; average its 'logits'."
            )
        probability = outputs["probability"].mean(axis=0)
        logits = jnp.log(jnp.maximum(probability, _TINY))
        if self.loss_name == "sigmoid":
            logits = logits - jnp.log(jnp.maximum(1 - probability, _TINY))
        return {"logits": logits, "probability": probability}

    def features(self, variables: Tree, batch: Tree) -> dict[str, Array]:
        """The model's features by name, as evaluation sees them."""
        _, features = self.model.apply(variables, _image(batch), train=False)
        return dict(features)

    def metrics(self) -> type[clu.metrics.Collection]:
        """What evaluation measures, from `predict`'s outputs with the batch's label and valid.

        Scalars: loss (without smoothing, class weights and penalty, so that runs compare),
        accuracy, top5_accuracy (more than 5 classes), macro_recall, calibration_error (not for
        hinges, whose scores are no probabilities). Arrays: per_class_accuracy and
        per_class_precision [K], confusion_matrix [K, K] (truth, prediction; up to 2,000 classes).
        """
        found: dict[str, Any] = {
            "loss": metrics.Mean.of(self._evaluation_loss),
            "accuracy": metrics.Accuracy,
            "macro_recall": metrics.MacroRecall,
            "per_class_accuracy": metrics.PerClassAccuracy,
            "per_class_precision": metrics.PerClassPrecision,
        }
        if self.model.num_classes > 5:
            found["top5_accuracy"] = metrics.Accuracy.top(5)
        if self.loss_name in ("softmax", "sigmoid"):
            found["calibration_error"] = metrics.CalibrationError.with_bins(self.calibration_bins)
        if self.model.num_classes <= MAX_CONFUSION_CLASSES:
            found["confusion_matrix"] = metrics.ConfusionMatrix
        return clu.metrics.Collection.create(**found)

    def _probability(self, logits: Float[Array, "b k"]) -> dict[str, Array]:
        if self.loss_name == "softmax":
            return {"probability": jax.nn.softmax(logits, axis=-1)}
        if self.loss_name == "sigmoid":
            return {"probability": jax.nn.sigmoid(logits)}
        return {}

    def _batch_loss(self, logits: Float[Array, "b k"], batch: Tree) -> Float[Array, ""]:
        """What training minimises of these logits: the mean or the sum, of mixed labels too."""
        values, counts = self._training_values(logits, batch["label"])
        if "mixed_label" in batch:
            share = batch["mix_weight"]
            other_values, other_counts = self._training_values(logits, batch["mixed_label"])
            values = (1 - share) * values + share * other_values
            counts = (1 - share) * counts + share * other_counts
        if self.reduction == "mean":
            return losses.mean(values, batch.get("valid"), counts=counts)
        return losses.total(values, batch.get("valid"))

    def _training_values(
        self, logits: Float[Array, "b k"], label: Int[Array, "b"]
    ) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
        """Each example's loss, and what it counts in the divisor of the mean."""
        smoothing = {"label_smoothing": self.label_smoothing}
        counts = jnp.ones(label.shape, jnp.float32)
        if self.loss_name == "softmax" and self.class_weights:
            weights = jnp.asarray(self.class_weights, jnp.float32)
            values = losses.softmax_cross_entropy(logits, label, class_weights=weights, **smoothing)
            return values, jnp.take(weights, label, mode="clip")
        if self.loss_name == "softmax":
            return losses.softmax_cross_entropy(logits, label, **smoothing), counts
        if self.loss_name == "sigmoid":
            return losses.sigmoid_cross_entropy(logits, label, **smoothing), counts
        return self._hinge(logits, label), counts

    def _evaluation_loss(self, logits: Array, label: Array, **_: Any) -> Float[Array, "b"]:
        plain: dict[str, Callable[[Array, Array], Array]] = {
            "softmax": losses.softmax_cross_entropy,
            "sigmoid": losses.sigmoid_cross_entropy,
        }
        return plain.get(self.loss_name, self._hinge)(logits, label)

    def _hinge(self, logits: Array, label: Array) -> Float[Array, "b"]:
        squared = self.loss_name == "squared_hinge"
        return losses.multiclass_hinge(logits, label, margin=self.margin, squared=squared)


def _image(batch: Tree) -> Float[Array, "b h w c"]:
    image = batch["image"]
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image: got {image.dtype}, expected float values. Turn uint8 images into [0, 1] first "
            "(cvjax.image.augment)."
        )
    return image


def _option_problems(task: Classification) -> Iterator[str]:
    classes = task.model.num_classes
    if classes is None:
        yield "model.num_classes: got None, a backbone without a head. Set the number of classes."
    elif task.class_weights and len(task.class_weights) != classes:
        yield (
            f"task.class_weights: got {len(task.class_weights)} weights for {classes} classes. "
            "Give one per class or none."
        )
    if task.loss_name not in LOSSES:
        yield f"task.loss_name: got {task.loss_name!r}, expected one of {', '.join(LOSSES)}."
    if task.reduction not in REDUCTIONS:
        yield f"task.reduction: got {task.reduction!r}, expected one of {', '.join(REDUCTIONS)}."
    if not 0 <= task.label_smoothing < 1:
        yield f"task.label_smoothing: got {task.label_smoothing}, expected a value in [0, 1)."
    hinge = "hinge" in task.loss_name
    if hinge and task.label_smoothing:
        yield f"task.label_smoothing: a {task.loss_name} has no soft labels. Set it to 0."
    if task.class_weights and task.loss_name != "softmax":
        yield f"task.class_weights: only softmax has them, not {task.loss_name}. Set it to ()."
    if not hinge and task.margin != 1.0:
        yield f"task.margin: only the hinges have one, not {task.loss_name}. Leave it at 1."
    if task.l1 < 0 or task.l2 < 0:
        yield f"task.l1, task.l2: got {task.l1} and {task.l2}, expected no negative penalty."
    if task.aux_weight < 0:
        yield f"task.aux_weight: got {task.aux_weight}, expected no negative weight."
    if task.calibration_bins < 1:
        yield f"task.calibration_bins: got {task.calibration_bins}, expected at least 1."
