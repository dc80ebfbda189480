"""What tasks of detection share: what they ask of a batch, and how the best boxes are chosen."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.metrics.classification import Mean
from cvjax.ops.nms import nms
from cvjax.tasks.class_count import check_class_count
from cvjax.tasks.fresh_variables import fresh_variables
from cvjax.tasks.problems import raise_problems


class DetectionTask:
    """What the tasks of detection share; each is a frozen dataclass with a field `model`."""

    evaluator: ClassVar[str] = "detection_ap"
    model: nn.Module

    def __post_init__(self) -> None:
        raise_problems(self.option_problems())

    def option_problems(self) -> Iterator[str]:
        """What is wrong with the options, a sentence each."""
        raise NotImplementedError

    def check(self, info: Any) -> None:
        """Compares the model with the data's `info` (`cvjax.data.source.SourceInfo`).

        Raises:
            ValueError: if their numbers of classes disagree.
        """
        check_class_count(self.model, info)

    def init(self, rng: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables, {"params": ...} and whatever other collections the model keeps."""
        return fresh_variables(self.model, rng, batch["image"])


def require_boxes(batch: Mapping[str, Any], task: str) -> None:
    """Checks that `batch` has boxes to learn from.

    Raises:
        ValueError: if it lacks `boxes`, `box_label` or `box_valid`.
    """
    missing = [name for name in ("boxes", "box_label", "box_valid") if name not in batch]
    if missing:
        raise ValueError(
            f"{task}: the batch has no {missing}, only {sorted(batch)}. Use a source of boxes, "
            "such as scenes."
        )


def with_area(boxes: Float[Array, "*b 4"], valid: Bool[Array, "*b"]) -> Bool[Array, "*b"]:
    """Which of the `valid` boxes have an area: one without has no finite code to be learnt."""
    return valid & jnp.all(boxes[..., 2:] > boxes[..., :2], axis=-1)


def best_pairs(
    boxes: Float[Array, "m 4"], scores: Float[Array, "m k"], count: int
) -> tuple[Float[Array, "n 4"], Int[Array, " n"], Float[Array, " n"]]:
    """Boxes, labels and scores of the best `count` (all, if fewer) pairs of a box and a class."""
    classes = scores.shape[-1]
    score, pair = jax.lax.top_k(scores.ravel(), min(count, scores.size))
    return boxes[pair // classes], pair % classes, score


def best_detections(
    boxes: Float[Array, "m 4"],
    label: Int[Array, " m"],
    score: Float[Array, " m"],
    *,
    min_score: float,
    nms_iou: float,
    max_detections: int,
) -> dict[str, Array]:
    """`detected_boxes` [D, 4], `detected_label`, `detected_score`, `detected_valid` [D].

    Of one picture. D is `max_detections`; by descending score above `min_score`, padding (all 0)
    last. Of two of a class that overlap by more than `nms_iou` the better one stays.
    """
    alive = jnp.where(score > min_score, score, -jnp.inf)
    kept, valid = nms(boxes, alive, label, iou_threshold=nms_iou, max_outputs=max_detections)
    return {
        "detected_boxes": jnp.where(valid[:, None], boxes[kept], 0.0),
        "detected_label": jnp.where(valid, label[kept], 0),
        "detected_score": jnp.where(valid, score[kept], 0.0),
        "detected_valid": valid,
    }


def detection_metrics() -> type[clu.metrics.Collection]:
    """What is measured besides average precision: `detections`, the mean number an image."""

    def count(detected_valid: Bool[Array, "b d"], **_: Any) -> Float[Array, " b"]:
        return detected_valid.sum(axis=1).astype(jnp.float32)

    return clu.metrics.Collection.create(detections=Mean.of(count))
