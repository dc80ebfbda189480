"""Classification with localisation, and landmark detection: at most one object a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cvjax.losses.classification import mean, sigmoid_cross_entropy, softmax_cross_entropy
from cvjax.losses.yolo import present_squared_error
from cvjax.metrics.classification import Mean
from cvjax.metrics.localization import PointError
from cvjax.ops.boxes import clip_boxes, cxcywh_to_xyxy, xyxy_to_cxcywh
from cvjax.tasks.class_count import check_class_count
from cvjax.tasks.detections import require_boxes, with_area
from cvjax.tasks.fresh_variables import fresh_variables
from cvjax.tasks.problems import raise_problems, range_problems

Tree = Mapping[str, Any]
LOSSES = ("mixed", "squared")


@dataclass(frozen=True)
class Localization:
    """What a localizer is trained for, how it answers and how it is judged.

    Batches as `cvjax.tasks.detection` takes them, with `keypoints` [B, N, P, 3] where the model
    has points; of several objects the largest is meant. The target is the vector (p_c, b_x, b_y,
    b_w, b_h, points, one-hot class), places as shares of the picture; where p_c is 0, nothing else
    counts. Differs from the course: width before height, as everywhere here.

    Attributes:
        loss_name: "mixed": cross-entropy for p_c and the class, squared error for places;
            "squared": squared error for all, as in the course's first version, of sigmoids.
        place_weight: of the squared error of box and points beside the rest. Where it is large,
            classes are learnt late.
        min_score: an object is seen if p_c is above it. Then there is one detection, whose score
            is p_c times the class's probability.
    """

    evaluator: ClassVar[str] = "detection_ap"

    model: nn.Module
    loss_name: str = "mixed"
    place_weight: float = 1.0
    min_score: float = 0.5

    def __post_init__(self) -> None:
        problems = []
        if self.loss_name not in LOSSES:
            problems.append(f"task.loss_name: got {self.loss_name!r}, expected one of {LOSSES}.")
        problems += range_problems(self, weights=("place_weight",), shares=("min_score",))
        if not self.model.boxes or self.model.num_classes is None:
            problems.append(
                "model: this task's detections need boxes=True and num_classes; a model of points "
                "alone has no evaluator yet."
            )
        raise_problems(problems)

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if their numbers of classes or of points disagree.
        """
        check_class_count(self.model, info)
        points = len(info.keypoint_names)
        if self.model.num_points not in (0, points):
            raise ValueError(
                f"model.num_points: got {self.model.num_points}, but {info.name} has {points} "
                "keypoints. Set it to that, or to 0, or ask the source for its keypoints."
            )

    def init(self, rng: Array, batch: Tree) -> dict[str, Any]:
        """Fresh variables, {"params": ...} and whatever other collections the model keeps."""
        return fresh_variables(self.model, rng, batch["image"])

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array] | None = None,
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {collection: tree}}.

        The mean over images. Metrics: `loss`; of "mixed" its parts `present_loss`, `box_loss`,
        `point_loss` and `class_loss`, weighted.

        Raises:
            ValueError: if the batch has no boxes, or no keypoints where the model has points.
        """
        del ema
        require_boxes(batch, "localization")
        if self.model.num_points and "keypoints" not in batch:
            raise ValueError(
                "localization: the batch has no keypoints. Ask the source for them, such as with "
                "data.options.targets=('keypoints',)."
            )
        collections = [name for name in variables if name != "params"]
        (outputs, _), mutated = self.model.apply(
            variables, batch["image"], train=True, rngs=rngs, mutable=collections
        )
        target = largest_object(batch)
        if self.loss_name == "squared":
            parts = {"loss": self._squared_error(outputs, target, batch["image"].shape[1:3])}
        else:
            parts = self._mixed_losses(outputs, target, batch["image"].shape[1:3])
        figures = {name: mean(x, batch.get("valid")) for name, x in parts.items()}
        loss = sum(figures.values())
        return loss, {"metrics": {**figures, "loss": loss}, "mutated": dict(mutated)}

    def _mixed_losses(
        self, outputs: Tree, target: Tree, shape: tuple[int, int]
    ) -> dict[str, Float[Array, " b"]]:
        present = target["target_present"]
        found = {
            "present_loss": sigmoid_cross_entropy(
                outputs["present"][:, None], present.astype(jnp.float32)[:, None]
            )
        }
        box, points, seen = _shares(target, shape)
        error = jnp.square(outputs["box"] - box).sum(axis=-1)
        found["box_loss"] = self.place_weight * jnp.where(present, error, 0.0)
        if "points" in outputs:
            error = jnp.where(seen[..., None], jnp.square(outputs["points"] - points), 0.0)
            error = error.sum(axis=(1, 2))
            found["point_loss"] = self.place_weight * jnp.where(present, error, 0.0)
        entropy = softmax_cross_entropy(outputs["class_logits"], target["target_label"])
        found["class_loss"] = jnp.where(present, entropy, 0.0)
        return found

    def _squared_error(
        self, outputs: Tree, target: Tree, shape: tuple[int, int]
    ) -> Float[Array, " b"]:
        box, points, seen = _shares(target, shape)
        root = self.place_weight**0.5  # squared with the rest
        label = jax.nn.one_hot(target["target_label"], outputs["class_logits"].shape[-1])
        said = [jax.nn.sigmoid(outputs["present"])[:, None], root * outputs["box"]]
        true = [target["target_present"].astype(jnp.float32)[:, None], root * box]
        if "points" in outputs:
            # A point that is not there is its own target.
            points = jnp.where(seen[..., None], points, outputs["points"])
            said.append(root * outputs["points"].reshape(len(box), -1))
            true.append(root * points.reshape(len(box), -1))
        said.append(jax.nn.sigmoid(outputs["class_logits"]))
        true.append(label)
        return present_squared_error(jnp.concatenate(said, -1), jnp.concatenate(true, -1))

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`detected_boxes` [B, 1, 4], `detected_label`, `detected_score`, `detected_valid` [B, 1].

        Beside them `probability` [B], of an object at all, and `points` [B, P, 2] in pixels where
        the model has some. Where the batch has them, the true `target_present` [B], `target_box`,
        `target_label` and `target_points`, for the metrics.
        """
        height, width = batch["image"].shape[1:3]
        outputs, _ = self.model.apply(variables, batch["image"], train=False, rngs=rngs)
        present = jax.nn.sigmoid(outputs["present"])
        sides = jnp.array([[width, height, width, height]], jnp.float32)
        boxes = clip_boxes(cxcywh_to_xyxy(outputs["box"] * sides), (height, width))
        if self.loss_name == "squared":
            classes = jax.nn.sigmoid(outputs["class_logits"])
        else:
            classes = jax.nn.softmax(outputs["class_logits"], axis=-1)
        seen = with_area(boxes, present > self.min_score)
        found = {
            "detected_boxes": jnp.where(seen[:, None], boxes, 0.0)[:, None],
            "detected_label": jnp.where(seen, jnp.argmax(classes, axis=-1), 0)[:, None],
            "detected_score": jnp.where(seen, present * classes.max(axis=-1), 0.0)[:, None],
            "detected_valid": seen[:, None],
            "probability": present,
        }
        if "points" in outputs:
            found["points"] = outputs["points"] * sides[:, None, :2]
        return {**found, **largest_object(batch)} if "boxes" in batch else found

    def metrics(self) -> type[clu.metrics.Collection]:
        """Besides average precision: `present_accuracy`, and `point_error` where there are points.

        The first is of p_c; the second the mean distance over the box's diagonal.
        """

        def right(
            probability: Float[Array, " b"], target_present: Bool[Array, " b"], **_: Any
        ) -> Float[Array, " b"]:
            return ((probability > self.min_score) == target_present).astype(jnp.float32)

        found: dict[str, Any] = {"present_accuracy": Mean.of(right)}
        if self.model.num_points:
            found["point_error"] = PointError
        return clu.metrics.Collection.create(**found)


def largest_object(batch: Tree) -> dict[str, Array]:
    """`target_present` [B], `target_box` [B, 4], `target_label` [B], and where the batch has
    keypoints `target_points` [B, P, 3], of the largest valid object of each picture.
    """
    boxes = batch["boxes"]
    real = with_area(boxes, batch["box_valid"])
    size = jnp.where(real, (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1), -1.0)
    which = jnp.argmax(size, axis=1)

    def pick(x: Array) -> Array:
        return jax.vmap(lambda row, i: row[i])(x, which)

    found = {
        "target_present": real.any(axis=1),
        "target_box": pick(boxes),
        "target_label": pick(batch["box_label"]),
    }
    if "keypoints" in batch:
        found["target_points"] = pick(batch["keypoints"])
    return found


def _shares(target: Tree, shape: tuple[int, int]) -> tuple[Array, Array | None, Array | None]:
    """Box and points as shares of the picture's sides, and which points are there."""
    height, width = shape
    sides = jnp.array([[width, height, width, height]], jnp.float32)
    box = xyxy_to_cxcywh(target["target_box"]) / sides
    if "target_points" not in target:
        return box, None, None
    points = target["target_points"]
    return box, points[..., :2] / sides[:, None, :2], points[..., 2] > 0
