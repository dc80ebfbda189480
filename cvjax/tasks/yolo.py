"""YOLO with anchors on grids: versions 2 and 3."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cvjax.losses.classification import (
    mean,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    total,
)
from cvjax.ops.boxes import clip_boxes, iou, pairwise_iou, xyxy_to_cxcywh
from cvjax.ops.yolo import activate_anchors, decode_grid, encode_grid, shape_iou
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
PARTS = ("box_loss", "object_loss", "class_loss")


@dataclass(frozen=True)
class Yolo(DetectionTask):
    """What YOLOv2 and YOLOv3 are trained for, how they answer and how they are judged.

    Batches as `cvjax.tasks.detection` takes them. The model returns `grids`, per level
    [B, H, W, A, 5 + K], raw, and `anchors`, per level [A, 2], pixels. Defaults are YOLOv3's
    (https://arxiv.org/abs/1804.02767, section 2); YOLOv2 (https://arxiv.org/abs/1612.08242) has
    exclusive=True, rescore=True, ignore_iou=0.6.

    An object is learnt by one anchor: of all levels the one whose shape overlaps its own most, in
    the cell of its centre. Other anchors learn that there is nothing, unless what they predict
    overlaps an object by more than `ignore_iou`. Losses are sums over an image.

    Attributes:
        exclusive: an object has one class (softmax); otherwise each class is a question of its own.
        rescore: an anchor with an object learns its box's IoU as p_c, a constant to the gradient,
            not 1.
        ignore_iou: see above.
        box_weight, object_weight, empty_weight, class_weight: of the loss's parts; `empty_weight`
            is of p_c where there is nothing.
        candidates: of each level, as many best pairs of anchor and class enter NMS.
        min_score, nms_iou, max_detections: as in `cvjax.tasks.detection`; a score is p_c times the
            class's probability.
    """

    model: nn.Module
    exclusive: bool = False
    rescore: bool = False
    ignore_iou: float = 0.5
    box_weight: float = 1.0
    object_weight: float = 1.0
    empty_weight: float = 1.0
    class_weight: float = 1.0
    min_score: float = 0.05
    candidates: int = 1000
    nms_iou: float = 0.45
    max_detections: int = 100

    def option_problems(self) -> Iterator[str]:
        """What is wrong with the options, a sentence each."""
        yield from range_problems(
            self,
            weights=("box_weight", "object_weight", "empty_weight", "class_weight"),
            shares=("ignore_iou", "min_score", "nms_iou"),
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

        The mean over images of a sum over anchors. Metrics: `loss`, `box_loss`, `object_loss`,
        `class_loss`, weighted, and `overlap`, the mean IoU of an object with its anchor's box.

        Raises:
            ValueError: if the batch has no boxes.
        """
        del ema
        require_boxes(batch, "yolo")
        collections = [name for name in variables if name != "params"]
        (outputs, _), mutated = self.model.apply(
            variables, batch["image"], train=True, rngs=rngs, mutable=collections
        )
        found = self.image_losses(outputs, batch)
        valid = batch.get("valid")
        figures = {name: mean(found[name], valid) for name in PARTS}
        overlap = mean(found["overlap"], valid, counts=found["objects"])
        loss = sum(figures.values())
        metrics = {"loss": loss, **figures, "overlap": overlap}
        return loss, {"metrics": metrics, "mutated": dict(mutated)}

    def image_losses(self, outputs: Tree, batch: Tree) -> dict[str, Float[Array, " b"]]:
        """The loss's weighted parts of each image, the sum of its `objects`' `overlap`, and how
        many objects have an anchor.
        """
        image = batch["image"].shape[1:3]
        anchors = outputs["anchors"]
        fields = (batch["boxes"], batch["box_label"], batch["box_valid"])

        def of_image(
            grids: tuple[Array, ...],
            boxes: Float[Array, "n 4"],
            label: Int[Array, " n"],
            valid: Bool[Array, " n"],
        ) -> dict[str, Array]:
            valid = with_area(boxes, valid)
            overlap = shape_iou(xyxy_to_cxcywh(boxes)[:, 2:], jnp.concatenate(anchors))
            best = jnp.argmax(overlap, axis=1)
            parts, start = [], 0
            for grid, level_anchors in zip(grids, anchors, strict=True):
                end = start + len(level_anchors)
                here = valid & (best >= start) & (best < end)
                start = end
                target = encode_grid(
                    boxes,
                    label,
                    here,
                    image=image,
                    grid=grid.shape[:2],
                    num_classes=grid.shape[-1] - 5,
                    anchors=level_anchors,
                )
                raw = grid.astype(jnp.float32)
                codes = activate_anchors(
                    raw, image=image, anchors=level_anchors, exclusive=self.exclusive
                )
                predicted, _ = decode_grid(jax.lax.stop_gradient(codes), image=image)
                nearest = jnp.where(valid[None], pairwise_iou(predicted, boxes), 0.0).max(axis=1)
                own = iou(predicted, decode_grid(target, image=image)[0])
                place = raw.shape[:3]
                fields = own.reshape(place), nearest.reshape(place), level_anchors
                parts.append(self._level_losses(raw, target, *fields, image=image))
            return jax.tree.map(lambda *x: sum(x), *parts)

        return jax.vmap(of_image)(outputs["grids"], *fields)

    def _level_losses(
        self,
        raw: Float[Array, "r c a d"],
        target: Float[Array, "r c a d"],
        own: Float[Array, "r c a"],
        nearest: Float[Array, "r c a"],
        anchors: Float[Array, "a 2"],
        *,
        image: tuple[int, int],
    ) -> dict[str, Array]:
        """`own` is each anchor's IoU with its own object, `nearest` its highest with any."""
        rows, columns = raw.shape[:2]
        present = target[..., 0] > 0
        per_pixel = jnp.array([columns / image[1], rows / image[0]]).reshape(1, 2)
        unit = (anchors * per_pixel)[None, None]  # [1, 1, A, 2], in cells
        size = jnp.where(present[..., None], target[..., 3:5], unit)
        center = _divergence(raw[..., 1:3], target[..., 1:3])
        shape = jnp.square(raw[..., 3:5] - jnp.log(size / unit)).sum(axis=-1) / 2
        # As in the authors' code, a small object's place counts nearly twice a large one's.
        place = (2 - size.prod(axis=-1) / (rows * columns)) * (center + shape)

        confidence = own if self.rescore else jnp.ones_like(own)
        something = _divergence(raw[..., :1], confidence[..., None])
        nothing = jax.nn.softplus(raw[..., 0])
        empty = ~present & (nearest <= self.ignore_iou)
        if self.exclusive:
            kind = softmax_cross_entropy(raw[..., 5:], jnp.argmax(target[..., 5:], axis=-1))
        else:
            kind = sigmoid_cross_entropy(raw[..., 5:], target[..., 5:])
        return {
            "box_loss": self.box_weight * total(place, present),
            "object_loss": self.object_weight * total(something, present)
            + self.empty_weight * total(nothing, empty),
            "class_loss": self.class_weight * total(kind, present),
            "overlap": total(own, present),
            "objects": present.sum().astype(jnp.float32),
        }

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`detected_boxes` [B, D, 4], `detected_label`, `detected_score`, `detected_valid` [B, D].

        D is `max_detections`; by descending score, padding (all 0) last. Boxes are cut to the
        picture.
        """
        image = batch["image"].shape[1:3]
        outputs, _ = self.model.apply(variables, batch["image"], train=False, rngs=rngs)

        def of_image(grids: tuple[Array, ...]) -> dict[str, Array]:
            found = []
            for grid, anchors in zip(grids, outputs["anchors"], strict=True):
                codes = activate_anchors(
                    grid, image=image, anchors=anchors, exclusive=self.exclusive
                )
                found.append(best_pairs(*decode_grid(codes, image=image), self.candidates))
            boxes, label, score = (jnp.concatenate(parts) for parts in zip(*found))
            return best_detections(
                clip_boxes(boxes, image),
                label,
                score,
                min_score=self.min_score,
                nms_iou=self.nms_iou,
                max_detections=self.max_detections,
            )

        return jax.vmap(of_image)(outputs["grids"])

    def metrics(self) -> type[clu.metrics.Collection]:
        """As `detection_metrics` says."""
        return detection_metrics()


def _divergence(logits: Float[Array, "*b k"], target: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """The cross-entropy of sigmoids less what is left of it at best: 0 where they are `target`."""
    target = jnp.clip(target, 0, 1)  # an IoU may be above by rounding, where entr is -inf
    least = jax.scipy.special.entr(target) + jax.scipy.special.entr(1 - target)
    return sigmoid_cross_entropy(logits, target) - least.sum(axis=-1)
