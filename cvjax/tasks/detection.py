"""Object detection with anchors: every anchor answers for an object or for the background."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.losses.classification import mean
from cvjax.losses.detection import sigmoid_focal_loss, smooth_l1
from cvjax.ops.box_coding import decode_boxes, encode_boxes
from cvjax.ops.boxes import pairwise_iou
from cvjax.ops.matching import BACKGROUND, match_anchors, match_atss
from cvjax.tasks.detections import (
    DetectionTask,
    best_detections,
    detection_metrics,
    require_boxes,
    with_area,
)
from cvjax.tasks.problems import range_problems

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Detection(DetectionTask):
    """What a one-stage detector is trained for, how it answers and how it is judged.

    Batches hold `image` [B, H, W, C] float, `boxes` [B, N, 4] (xyxy, pixels), `box_label` and
    `box_valid` [B, N]; `valid` [B] leaves whole images out. The model returns `class_logits` (per
    level [B, H, W, A, K]), `box_codes` ([B, H, W, A, 4]) and `anchors` [all of them, 4]; Lin et al.
    2017, https://arxiv.org/abs/1708.02002, section 4.1.

    Attributes:
        matching: "max_iou" compares IoUs with `high` and `low`; "atss" with each object's own
            threshold, `cvjax.ops.matching.match_atss`, and there is nothing between object and
            background.
        atss_candidates: of a level and an object, for each anchor of a place; None without ATSS.
        high, low: with "max_iou", an anchor stands for the object it overlaps by an IoU of at
            least `high`, is background below `low`, and is left out of the loss in between.
        low_quality: the anchors that an object overlaps most stand for it at any IoU.
        alpha, gamma: of the focal loss.
        smooth_l1_beta: where the box loss turns from quadratic to linear; 0 is L1, torchvision's.
        box_weight: of the box loss beside the class loss.
        min_score: detections need a score above it.
        candidates: of each level, as many best pairs of anchor and class enter NMS.
        nms_iou: of two detections of a class that overlap by more, the better one stays.
        max_detections: an image.
    """

    model: nn.Module
    matching: Literal["max_iou", "atss"] = "max_iou"
    atss_candidates: int | None = None
    high: float = 0.5
    low: float = 0.4
    low_quality: bool = True
    alpha: float = 0.25
    gamma: float = 2.0
    smooth_l1_beta: float = 0.1
    box_weight: float = 1.0
    min_score: float = 0.05
    candidates: int = 1000
    nms_iou: float = 0.5
    max_detections: int = 100

    def option_problems(self) -> Iterator[str]:
        """What is wrong with the options, a sentence each."""
        if not 0 <= self.low <= self.high <= 1:
            got = f"got {self.low} and {self.high}"
            yield f"task.low, task.high: {got}, expected 0 <= low <= high <= 1."
        if self.matching not in ("max_iou", "atss"):
            yield f"task.matching={self.matching!r}: expected 'max_iou' or 'atss'."
        elif (self.matching == "atss") == (self.atss_candidates is None):
            yield (
                f"task.atss_candidates={self.atss_candidates} with matching={self.matching!r}: "
                "'atss' needs a number (9 in its paper), 'max_iou' None."
            )
        yield from range_problems(
            self,
            weights=("gamma", "smooth_l1_beta", "box_weight"),
            shares=("alpha", "min_score", "nms_iou"),
            counts=(
                "candidates",
                "max_detections",
                *(["atss_candidates"] if self.atss_candidates is not None else []),
            ),
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

        Both parts are summed over anchors and divided by the number of those that stand for an
        object (at least 1), image by image; then follows the mean over images. Metrics: `loss`,
        `class_loss`, `box_loss`, and `matched`, the mean number of such anchors.

        Raises:
            ValueError: if the batch has no boxes.
        """
        del ema
        require_boxes(batch, "detection")
        collections = [name for name in variables if name != "params"]
        (outputs, _), mutated = self.model.apply(
            variables, batch["image"], train=True, rngs=rngs, mutable=collections
        )
        class_loss, box_loss, matched = self.image_losses(outputs, batch)
        valid = batch.get("valid")
        figures = {
            "class_loss": mean(class_loss, valid),
            "box_loss": mean(box_loss, valid),
            "matched": mean(matched, valid),
        }
        loss = figures["class_loss"] + self.box_weight * figures["box_loss"]
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": dict(mutated)}

    def image_losses(
        self, outputs: Tree, batch: Tree
    ) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " b"]]:
        """(class loss, box loss, number of anchors that stand for an object) of each image."""
        logits = jnp.concatenate([_rows(x) for x in outputs["class_logits"]], axis=1)  # [B, M, K]
        codes = jnp.concatenate([_rows(x) for x in outputs["box_codes"]], axis=1)  # [B, M, 4]
        each = jax.vmap(self._image_losses, in_axes=(0, 0, 0, 0, 0, None))
        fields = (batch["boxes"], batch["box_label"], outputs["anchors"])
        return each(logits, codes, self.matches(outputs, batch), *fields)

    def matches(self, outputs: Tree, batch: Tree) -> Int[Array, "b m"]:
        """Each anchor's object (its index), BACKGROUND or IGNORED, as `cvjax.ops.matching` says.

        What is learnt; `cvjax.vis.boxes.draw_matches` draws it.
        """
        anchors, levels = outputs["anchors"], [x.shape[1:4] for x in outputs["class_logits"]]
        return jax.vmap(lambda boxes, valid: self._matches(boxes, valid, anchors, levels))(
            batch["boxes"], with_area(batch["boxes"], batch["box_valid"])
        )

    def _matches(
        self,
        boxes: Float[Array, "n 4"],
        valid: Bool[Array, " n"],
        anchors: Float[Array, "m 4"],
        levels: list[tuple[int, int, int]],
    ) -> Int[Array, " m"]:
        """Each anchor's object; `levels` are (rows, columns, anchors of a place)."""
        if self.matching == "atss":
            return match_atss(
                boxes,
                valid,
                anchors,
                [math.prod(level) for level in levels],
                candidates=self.atss_candidates * levels[0][-1],
            )
        return match_anchors(
            pairwise_iou(boxes, anchors),
            valid,
            high=self.high,
            low=self.low,
            low_quality=self.low_quality,
        )

    def _image_losses(
        self,
        logits: Float[Array, "m k"],
        codes: Float[Array, "m 4"],
        matches: Int[Array, " m"],
        boxes: Float[Array, "n 4"],
        label: Int[Array, " n"],
        anchors: Float[Array, "m 4"],
    ) -> tuple[Array, Array, Array]:
        positive = matches >= 0
        index = jnp.maximum(matches, 0)
        count = positive.sum().astype(jnp.float32)
        divisor = jnp.maximum(count, 1.0)

        classes = jnp.arange(logits.shape[-1])[None]
        target = (label[index][:, None] == classes) & positive[:, None]
        focal = sigmoid_focal_loss(
            logits, target.astype(jnp.float32), alpha=self.alpha, gamma=self.gamma
        )
        counts = positive | (matches == BACKGROUND)
        class_loss = jnp.where(counts[:, None], focal, 0.0).sum() / divisor

        # Where nothing matched, the anchor itself stands in: its code is 0 and finite.
        boxes = jnp.where(positive[:, None], boxes[index], anchors)
        distance = smooth_l1(codes, encode_boxes(boxes, anchors), beta=self.smooth_l1_beta)
        box_loss = jnp.where(positive[:, None], distance, 0.0).sum() / divisor
        return class_loss, box_loss, count

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`detected_boxes` [B, D, 4], `detected_label`, `detected_score`, `detected_valid` [B, D].

        D is `max_detections`; by descending score, padding (all 0) last. Boxes are cut to the
        picture.
        """
        outputs, _ = self.model.apply(variables, batch["image"], train=False, rngs=rngs)
        height, width = batch["image"].shape[1:3]
        extent = jnp.tile(jnp.array([[height, width]], jnp.float32), (len(batch["image"]), 1))
        return self.detections(outputs, extent)

    def detections(self, outputs: Tree, extent: Float[Array, "b 2"]) -> dict[str, Array]:
        """What `predict` returns, from the model's outputs; `extent` is each picture's (h, w)."""
        logits = [_rows(x) for x in outputs["class_logits"]]
        codes = [_rows(x) for x in outputs["box_codes"]]
        ends = list(accumulate([0, *(x.shape[1] for x in logits)]))
        anchors = [outputs["anchors"][start:end] for start, end in pairwise(ends)]
        return jax.vmap(lambda *x: self._detections(*x, anchors))(logits, codes, extent)

    def _detections(
        self, logits: list[Array], codes: list[Array], extent: Array, anchors: list[Array]
    ) -> dict[str, Array]:
        found = []
        for level_logits, level_codes, level_anchors in zip(logits, codes, anchors, strict=True):
            classes = level_logits.shape[-1]
            score = jax.nn.sigmoid(level_logits.astype(jnp.float32)).ravel()
            score, pair = jax.lax.top_k(score, min(self.candidates, score.size))
            anchor = pair // classes
            boxes = decode_boxes(level_codes[anchor].astype(jnp.float32), level_anchors[anchor])
            boxes = jnp.clip(boxes, 0, jnp.tile(extent[::-1], 2)[None])
            found.append((boxes, pair % classes, score))
        boxes, label, score = (jnp.concatenate(parts) for parts in zip(*found))
        return best_detections(
            boxes,
            label,
            score,
            min_score=self.min_score,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )

    def metrics(self) -> type[clu.metrics.Collection]:
        """As `detection_metrics` says."""
        return detection_metrics()


def _rows(x: Float[Array, "b h w a c"]) -> Float[Array, "b m c"]:
    """The anchors of a level one after the other, in the order of `grid_anchors`."""
    return x.reshape(x.shape[0], -1, x.shape[-1])
