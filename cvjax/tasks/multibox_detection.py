"""Object detection with default boxes and a softmax that has the background as a class: SSD's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from cvjax.losses.detection import smooth_l1
from cvjax.ops.box_coding import decode_boxes, encode_boxes
from cvjax.ops.boxes import pairwise_iou
from cvjax.ops.matching import BACKGROUND, match_default_boxes
from cvjax.ops.mining import hard_negatives
from cvjax.tasks.detections import (
    DetectionTask,
    best_detections,
    detection_metrics,
    require_boxes,
    with_area,
)
from cvjax.tasks.problems import range_problems

Tree = Mapping[str, Any]

# SSD's variances 0.1 and 0.2, as weights of a box code.
CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True)
class MultiBoxDetection(DetectionTask):
    """What SSD is trained for, how it answers and how it is judged.

    Batches hold `image` [B, H, W, C] float, `boxes` [B, N, 4] (xyxy, pixels), `box_label` and
    `box_valid` [B, N]; `valid` [B] leaves whole images out. The model returns `class_logits` (per
    level [B, H, W, A, 1 + K], the background first), `box_codes` ([B, H, W, A, 4]) and `anchors`
    [all of them, 4]; Liu et al. 2016, https://arxiv.org/abs/1512.02325, section 2.2.

    Attributes:
        threshold: a default box stands for the object it overlaps by an IoU of at least this, and
            the one that an object overlaps most stands for it at any IoU.
        negative_ratio: for each box that stands for an object, as many of the background boxes
            with the highest loss count.
        box_weight: of the box loss beside the class loss; the paper's alpha.
        min_score: detections need a score above it.
        candidates: as many best boxes of each class enter NMS.
        nms_iou: of two detections of a class that overlap by more, the better one stays.
        max_detections: an image.
    """

    model: nn.Module
    threshold: float = 0.5
    negative_ratio: int = 3
    box_weight: float = 1.0
    min_score: float = 0.01
    candidates: int = 400
    nms_iou: float = 0.45
    max_detections: int = 200

    def option_problems(self) -> Iterator[str]:
        """What is wrong with the options, a sentence each."""
        yield from range_problems(
            self,
            weights=("negative_ratio", "box_weight"),
            shares=("threshold", "min_score", "nms_iou"),
            counts=("candidates", "max_detections"),
        )

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array] | None = None,
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {collection: tree}}.

        Both parts are summed over the batch and divided by its number of boxes that stand for an
        object (at least 1). Metrics: `loss`, `class_loss`, `box_loss`, and `matched`, the mean
        number of such boxes an image.

        Raises:
            ValueError: if the batch has no boxes.
        """
        del ema
        require_boxes(batch, "multibox_detection")
        collections = [name for name in variables if name != "params"]
        (outputs, _), mutated = self.model.apply(
            variables, batch["image"], train=True, rngs=rngs, mutable=collections
        )
        sums = self.image_losses(outputs, batch)
        if (valid := batch.get("valid")) is not None:
            sums = tuple(jnp.where(valid, x, 0.0) for x in sums)
        class_loss, box_loss, count = (x.sum() for x in sums)
        divisor = jnp.maximum(count, 1.0)
        images = jnp.maximum(len(sums[0]) if valid is None else valid.sum(), 1)
        figures = {
            "class_loss": class_loss / divisor,
            "box_loss": box_loss / divisor,
            "matched": count / images,
        }
        loss = figures["class_loss"] + self.box_weight * figures["box_loss"]
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": dict(mutated)}

    def image_losses(
        self, outputs: Tree, batch: Tree
    ) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " b"]]:
        """Sums of each image: class loss, box loss, boxes that stand for an object."""
        logits, codes = _flat(outputs)
        fields = (batch["boxes"], batch["box_label"], batch["box_valid"])
        each = jax.vmap(self._image_losses, in_axes=(0, 0, 0, 0, 0, None))
        return each(logits, codes, *fields, outputs["anchors"])

    def _image_losses(
        self,
        logits: Float[Array, "m k"],
        codes: Float[Array, "m 4"],
        boxes: Float[Array, "n 4"],
        label: Int[Array, " n"],
        valid: Bool[Array, " n"],
        anchors: Float[Array, "m 4"],
    ) -> tuple[Array, Array, Array]:
        matches = match_default_boxes(
            pairwise_iou(boxes, anchors), with_area(boxes, valid), threshold=self.threshold
        )
        positive = matches != BACKGROUND
        index = jnp.maximum(matches, 0)

        target = jnp.where(positive, 1 + label[index], 0)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), target)
        negative = hard_negatives(loss, positive, ~positive, ratio=self.negative_ratio)
        class_loss = jnp.where(positive | negative, loss, 0.0).sum()

        # Where nothing matched, the box itself stands in: its code is 0 and finite.
        boxes = jnp.where(positive[:, None], boxes[index], anchors)
        distance = smooth_l1(codes, encode_boxes(boxes, anchors, weights=CODE_WEIGHTS))
        box_loss = jnp.where(positive[:, None], distance, 0.0).sum()
        return class_loss, box_loss, positive.sum().astype(jnp.float32)

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`detected_boxes` [B, D, 4], `detected_label`, `detected_score`, `detected_valid` [B, D].

        D is `max_detections`; by descending score, padding (all 0) last. Boxes are cut to the
        picture.
        """
        outputs, _ = self.model.apply(variables, batch["image"], train=False, rngs=rngs)
        height, width = batch["image"].shape[1:3]
        return self.detections(outputs, (height, width))

    def detections(self, outputs: Tree, extent: tuple[int, int]) -> dict[str, Array]:
        """What `predict` returns, from the model's outputs; `extent` is the pictures' (h, w)."""
        logits, codes = _flat(outputs)
        each = jax.vmap(self._detections, in_axes=(0, 0, None, None))
        return each(logits, codes, outputs["anchors"], extent)

    def _detections(
        self, logits: Array, codes: Array, anchors: Array, extent: tuple[int, int]
    ) -> dict[str, Array]:
        boxes = decode_boxes(codes.astype(jnp.float32), anchors, weights=CODE_WEIGHTS)
        boxes = jnp.clip(boxes, 0, jnp.array([*extent[::-1]] * 2, jnp.float32)[None])
        scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[:, 1:].T  # [K, M]
        scores, box = jax.lax.top_k(scores, min(self.candidates, scores.shape[1]))
        label = jnp.broadcast_to(jnp.arange(len(scores))[:, None], scores.shape)
        return best_detections(
            boxes[box.ravel()],
            label.ravel(),
            scores.ravel(),
            min_score=self.min_score,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )

    def metrics(self) -> type[clu.metrics.Collection]:
        """As `detection_metrics` says."""
        return detection_metrics()


def _flat(outputs: Tree) -> tuple[Float[Array, "b m k"], Float[Array, "b m 4"]]:
    """Logits and codes of all levels one after the other, in the order of the default boxes."""
    return tuple(
        jnp.concatenate([x.reshape(x.shape[0], -1, x.shape[-1]) for x in outputs[name]], axis=1)
        for name in ("class_logits", "box_codes")
    )
