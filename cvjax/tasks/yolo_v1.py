"""YOLOv1: every cell of a grid says what is there and where (Redmon et al. 2015,
https://arxiv.org/abs/1506.02640).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.losses.classification import mean
from cvjax.losses.yolo import yolo_v1_loss
from cvjax.ops.boxes import clip_boxes
from cvjax.ops.yolo import decode_v1, encode_grid, split_v1
from cvjax.tasks.detections import (
    DetectionTask,
    best_detections,
    best_pairs,
    detection_metrics,
    require_boxes,
    with_area,
)
from cvjax.tasks.problems import range_problems

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class YoloV1(DetectionTask):
    """What YOLOv1 is trained for, how it answers and how it is judged.

    Batches as `cvjax.tasks.detection` takes them. The model has `num_boxes` and returns `grid`
    [B, S, S, 5 num_boxes + K] as `cvjax.ops.yolo.split_v1` reads it. A cell knows one object, the
    first whose centre is in it.

    Attributes:
        box_weight, empty_weight: lambda_coord and lambda_noobj of eq. 3.
        min_score: detections need a confidence times class probability above it; the authors'
            demonstration shows those above 0.25.
        nms_iou, max_detections: as in `cvjax.tasks.detection`.
    """

    model: nn.Module
    box_weight: float = 5.0
    empty_weight: float = 0.5
    min_score: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100

    def option_problems(self) -> Iterator[str]:
        """What is wrong with the options, a sentence each."""
        yield from range_problems(
            self,
            weights=("box_weight", "empty_weight"),
            shares=("min_score", "nms_iou"),
            counts=("max_detections",),
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

        The mean over images of `yolo_v1_loss`. Metrics: `loss`, and its parts `box_loss`,
        `confidence_loss`, `empty_loss`, `class_loss`, weighted.

        Raises:
            ValueError: if the batch has no boxes.
        """
        del ema
        require_boxes(batch, "yolo_v1")
        collections = [name for name in variables if name != "params"]
        (outputs, _), mutated = self.model.apply(
            variables, batch["image"], train=True, rngs=rngs, mutable=collections
        )
        image = batch["image"].shape[1:3]

        def of_image(
            grid: Float[Array, "s s d"],
            boxes: Float[Array, "n 4"],
            label: Int[Array, " n"],
            valid: Bool[Array, " n"],
        ) -> dict[str, Array]:
            boxes_here, classes = split_v1(grid.astype(jnp.float32), self.model.num_boxes)
            target = encode_grid(
                boxes,
                label,
                with_area(boxes, valid),
                image=image,
                grid=grid.shape[:2],
                num_classes=classes.shape[-1],
            )
            return yolo_v1_loss(
                boxes_here,
                classes,
                target,
                box_weight=self.box_weight,
                empty_weight=self.empty_weight,
            )

        fields = (batch["boxes"], batch["box_label"], batch["box_valid"])
        found = jax.vmap(of_image)(outputs["grid"], *fields)
        valid = batch.get("valid")
        figures = {f"{name}_loss": mean(x, valid) for name, x in found.items()}
        loss = sum(figures.values())
        return loss, {"metrics": {"loss": loss, **figures}, "mutated": dict(mutated)}

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`detected_boxes` [B, D, 4], `detected_label`, `detected_score`, `detected_valid` [B, D].

        D is `max_detections`; by descending score, padding (all 0) last. Boxes are cut to the
        picture.
        """
        image = batch["image"].shape[1:3]
        outputs, _ = self.model.apply(variables, batch["image"], train=False, rngs=rngs)

        def of_image(grid: Array) -> dict[str, Array]:
            boxes, scores = decode_v1(grid, num_boxes=self.model.num_boxes, image=image)
            boxes, label, score = best_pairs(boxes, scores, scores.size)
            return best_detections(
                clip_boxes(boxes, image),
                label,
                score,
                min_score=self.min_score,
                nms_iou=self.nms_iou,
                max_detections=self.max_detections,
            )

        return jax.vmap(of_image)(outputs["grid"])

    def metrics(self) -> type[clu.metrics.Collection]:
        """As `detection_metrics` says."""
        return detection_metrics()
