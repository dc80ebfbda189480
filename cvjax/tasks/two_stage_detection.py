"""Two-stage detection: a network proposes regions, a second stage names them and moves their sides.

Ren et al. 2015, https://arxiv.org/abs/1506.01497.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import clu.metrics
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cvjax.losses.classification import mean, softmax_cross_entropy
from cvjax.losses.detection import sigmoid_focal_loss, smooth_l1
from cvjax.ops.box_coding import decode_boxes, encode_boxes
from cvjax.ops.boxes import is_large, pairwise_iou
from cvjax.ops.matching import BACKGROUND, match_anchors
from cvjax.ops.nms import nms
from cvjax.ops.sampling import balanced_sample
from cvjax.tasks.detections import (
    DetectionTask,
    best_detections,
    detection_metrics,
    require_boxes,
    with_area,
)
from cvjax.tasks.problems import range_problems

Tree = Mapping[str, Any]
# torchvision's, after Fast R-CNN's code: codes of the second stage are of about unit variance.
BOX_CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_MIN_PROPOSAL_SIDE, _MIN_DETECTION_SIDE = 1e-3, 1e-2  # pixels, torchvision's


@dataclass(frozen=True)
class TwoStageDetection(DetectionTask):
    """What a two-stage detector is trained for, how it answers and how it is judged.

    Batches as `cvjax.tasks.detection` takes them. The model has two methods: itself, which returns
    `objectness` (per level [B, H, W, A]), `box_codes` ([B, H, W, A, 4]) and `anchors` beside its
    `features`, and `box_outputs(features, boxes)`, which returns `class_logits` [B, P, K + 1], the
    background first, and `box_codes` [B, P, K + 1, 4]. Between them this task turns anchors into
    proposals, of which there are always `proposals`, some of them not valid; no gradient passes
    through their sides. Defaults are torchvision's.

    Attributes:
        rpn_high, rpn_low: an anchor stands for the object it overlaps by an IoU of at least
            `rpn_high`, is background below `rpn_low`, and is left out of the loss in between; the
            anchors that an object overlaps most stand for it at any IoU.
        rpn_samples, rpn_positive_share: anchors of an image in the first stage's loss, and how
            many of these may stand for objects.
        train_candidates, candidates: of each level, as many best anchors enter NMS, in training
            and in prediction.
        train_proposals, proposals: as many of them are left behind it.
        proposal_iou: of two proposals of a level that overlap by more, the better one stays.
        roi_iou: a proposal stands for the object it overlaps by at least this IoU and for the
            background otherwise. In training the objects' own boxes are proposals too.
        roi_samples, roi_positive_share: as above, of the second stage.
        smooth_l1_beta: where both box losses turn from quadratic to linear.
        rpn_weight: of the first stage's losses beside the second's.
        min_score, nms_iou, max_detections: as in `cvjax.tasks.detection`.
    """

    model: nn.Module
    rpn_high: float = 0.7
    rpn_low: float = 0.3
    rpn_samples: int = 256
    rpn_positive_share: float = 0.5
    train_candidates: int = 2000
    candidates: int = 1000
    train_proposals: int = 2000
    proposals: int = 1000
    proposal_iou: float = 0.7
    roi_iou: float = 0.5
    roi_samples: int = 512
    roi_positive_share: float = 0.25
    smooth_l1_beta: float = 1 / 9
    rpn_weight: float = 1.0
    min_score: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100

    def option_problems(self) -> Iterator[str]:
        """What is wrong with the options, a sentence each."""
        if not 0 <= self.rpn_low <= self.rpn_high <= 1:
            got = f"got {self.rpn_low} and {self.rpn_high}"
            yield f"task.rpn_low, task.rpn_high: {got}, expected 0 <= rpn_low <= rpn_high <= 1."
        yield from range_problems(
            self,
            weights=("smooth_l1_beta", "rpn_weight"),
            shares=(
                "rpn_positive_share", "proposal_iou", "roi_iou", "roi_positive_share", "min_score",
                "nms_iou",
            ),
            counts=(
                "rpn_samples", "train_candidates", "candidates", "train_proposals", "proposals",
                "roi_samples", "max_detections",
            ),
        )  # fmt: skip

    def loss(
        self,
        variables: Tree,
        batch: Tree,
        rngs: Mapping[str, Array] | None = None,
        *,
        ema: Tree | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The training loss, and {"metrics": {name: scalar}, "mutated": {collection: tree}}.

        Samples are drawn from the stream "noise". Every part is a sum over samples divided by
        their number in the whole batch, as in torchvision. Metrics: `loss`; `rpn_class_loss`,
        `rpn_box_loss`, `class_loss`, `box_loss`; `roi_positives`, the mean number of samples of
        the second stage that stand for an object; `proposal_recall`, the share of objects that
        some proposal overlaps by `roi_iou`.

        Raises:
            ValueError: if the batch has no boxes or there is no stream "noise".
        """
        del ema
        require_boxes(batch, "two_stage_detection")
        if "noise" not in (rngs or {}):
            raise ValueError("two_stage_detection: loss draws samples; give it rngs['noise'].")
        keys = jax.random.split(rngs["noise"])
        collections = [name for name in variables if name != "params"]
        apply = {"train": True, "rngs": rngs, "mutable": collections}
        (outputs, features), mutated = self.model.apply(variables, batch["image"], **apply)
        objectness, rpn_box = self.proposal_losses(outputs, batch, keys[0])

        boxes, valid = self.find_proposals(outputs, _extent(batch["image"]), train=True)
        targets = self.sample_regions(boxes, valid, batch, keys[1])
        later, mutated_later = self.model.apply(
            {**variables, **mutated}, features, targets["boxes"], method="box_outputs", **apply
        )
        class_loss, box_loss = self.region_losses(later, targets)

        image_valid = batch.get("valid")
        figures = {
            "rpn_class_loss": mean(objectness[0], image_valid, counts=objectness[1]),
            "rpn_box_loss": mean(rpn_box[0], image_valid, counts=rpn_box[1]),
            "class_loss": mean(class_loss[0], image_valid, counts=class_loss[1]),
            "box_loss": mean(box_loss[0], image_valid, counts=box_loss[1]),
        }
        first = figures["rpn_class_loss"] + figures["rpn_box_loss"]
        loss = self.rpn_weight * first + figures["class_loss"] + figures["box_loss"]
        positives = (targets["label"] > 0) & targets["valid"]
        figures["roi_positives"] = mean(positives.sum(axis=1).astype(jnp.float32), image_valid)
        found, objects = targets["found"], targets["objects"]
        figures["proposal_recall"] = mean(found, image_valid, counts=objects)
        metrics = {"loss": loss, **figures}
        return loss, {"metrics": metrics, "mutated": {**mutated, **mutated_later}}

    def proposal_losses(
        self, outputs: Tree, batch: Tree, key: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """(sum, count) [B] each of the first stage's class loss and box loss."""
        logits = jnp.concatenate([_flat(x) for x in outputs["objectness"]], axis=1)  # [B, M]
        codes = jnp.concatenate([_rows(x) for x in outputs["box_codes"]], axis=1)  # [B, M, 4]
        anchors = outputs["anchors"]

        def of_image(
            key: Array,
            logits: Float[Array, " m"],
            codes: Float[Array, "m 4"],
            boxes: Float[Array, "n 4"],
            valid: Bool[Array, " n"],
        ) -> tuple[Array, Array, Array]:
            matches = match_anchors(
                pairwise_iou(boxes, anchors),
                with_area(boxes, valid),
                high=self.rpn_high,
                low=self.rpn_low,
                low_quality=True,
            )
            positive, negative = balanced_sample(
                key,
                matches >= 0,
                matches == BACKGROUND,
                size=self.rpn_samples,
                positive_share=self.rpn_positive_share,
            )
            target = positive.astype(jnp.float32)
            entropy = sigmoid_focal_loss(logits, target, alpha=None, gamma=0.0)
            sampled = positive | negative
            class_loss = jnp.where(sampled, entropy, 0.0).sum()
            # Where nothing matched, the anchor itself stands in: its code is 0 and finite.
            boxes = jnp.where(positive[:, None], boxes[jnp.maximum(matches, 0)], anchors)
            distance = smooth_l1(codes, encode_boxes(boxes, anchors), beta=self.smooth_l1_beta)
            box_loss = jnp.where(positive[:, None], distance, 0.0).sum()
            return class_loss, box_loss, sampled.sum().astype(jnp.float32)

        keys = jax.random.split(key, len(logits))
        fields = (batch["boxes"], batch["box_valid"])
        class_loss, box_loss, count = jax.vmap(of_image)(keys, logits, codes, *fields)
        return (class_loss, count), (box_loss, count)

    def find_proposals(
        self, outputs: Tree, extent: Float[Array, "b 2"], *, train: bool
    ) -> tuple[Float[Array, "b p 4"], Bool[Array, "b p"]]:
        """Boxes by descending objectness, and which of them are there; `extent` is (h, w) each.

        A constant to the gradient.
        """
        outputs = jax.lax.stop_gradient(outputs)
        candidates = self.train_candidates if train else self.candidates
        max_outputs = self.train_proposals if train else self.proposals
        logits = [_flat(x) for x in outputs["objectness"]]
        codes = [_rows(x) for x in outputs["box_codes"]]
        ends = list(accumulate([0, *(x.shape[1] for x in logits)]))
        anchors = [outputs["anchors"][start:end] for start, end in pairwise(ends)]

        def of_image(logits: list[Array], codes: list[Array], extent: Array) -> tuple[Array, Array]:
            found = []
            for level, (level_logits, level_codes) in enumerate(zip(logits, codes, strict=True)):
                size = min(candidates, level_logits.size)
                score, anchor = jax.lax.top_k(level_logits.astype(jnp.float32), size)
                boxes = decode_boxes(level_codes[anchor], anchors[level][anchor])
                found.append((_cut(boxes, extent), score, jnp.full(size, level)))
            boxes, score, level = (jnp.concatenate(parts) for parts in zip(*found))
            score = jnp.where(is_large(boxes, _MIN_PROPOSAL_SIDE), score, -jnp.inf)
            kept, valid = nms(
                boxes, score, level, iou_threshold=self.proposal_iou, max_outputs=max_outputs
            )
            return jnp.where(valid[:, None], boxes[kept], 0.0), valid

        return jax.vmap(of_image)(logits, codes, extent)

    def sample_regions(
        self, proposals: Float[Array, "b p 4"], valid: Bool[Array, "b p"], batch: Tree, key: Array
    ) -> dict[str, Array]:
        """What the second stage learns from: `boxes` [B, S, 4], `valid` [B, S]; of each, `label`
        [B, S], 0 for the background and else 1 + the object's, and `target` [B, S, 4], its object's
        box; and [B] how many `objects` there are and how many of them were `found` by proposals.
        """
        size = min(self.roi_samples, proposals.shape[1] + batch["boxes"].shape[1])

        def of_image(
            key: Array, proposals: Array, valid: Array, boxes: Array, label: Array, real: Array
        ) -> dict[str, Array]:
            real = with_area(boxes, real)
            overlap = pairwise_iou(boxes, proposals)
            found = real & jnp.any((overlap >= self.roi_iou) & valid[None], axis=1)
            regions = jnp.concatenate([proposals, boxes])
            matches = match_anchors(
                pairwise_iou(boxes, regions),
                real,
                high=self.roi_iou,
                low=self.roi_iou,
                low_quality=False,
            )
            there = jnp.concatenate([valid, real])
            positive, negative = balanced_sample(
                key,
                there & (matches >= 0),
                there & (matches == BACKGROUND),
                size=size,
                positive_share=self.roi_positive_share,
            )
            sampled, index = jax.lax.top_k((positive | negative).astype(jnp.int32), size)
            owner = jnp.maximum(matches[index], 0)
            stands = positive[index]
            return {
                "boxes": jnp.where(sampled[:, None] > 0, regions[index], 0.0),
                "valid": sampled > 0,
                "label": jnp.where(stands, 1 + label[owner], 0),
                "target": boxes[owner],
                "objects": real.sum().astype(jnp.float32),
                "found": found.sum().astype(jnp.float32),
            }

        keys = jax.random.split(key, len(proposals))
        fields = (batch["boxes"], batch["box_label"], batch["box_valid"])
        return jax.lax.stop_gradient(jax.vmap(of_image)(keys, proposals, valid, *fields))

    def region_losses(
        self, outputs: Tree, targets: Mapping[str, Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """(sum, count) [B] each of the second stage's class loss and box loss."""
        label, valid = targets["label"], targets["valid"]
        count = valid.sum(axis=1).astype(jnp.float32)
        entropy = softmax_cross_entropy(outputs["class_logits"], label)
        class_loss = jnp.where(valid, entropy, 0.0).sum(axis=1)
        index = label[:, :, None, None]
        codes = jnp.take_along_axis(outputs["box_codes"], index, axis=2)[:, :, 0]  # [B, S, 4]
        positive = (valid & (label > 0))[..., None]
        # Any box with an area stands in where there is none, so that its code is finite.
        unit = jnp.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4)
        wanted = encode_boxes(
            jnp.where(positive, targets["target"], unit),
            jnp.where(positive, targets["boxes"], unit),
            weights=BOX_CODE_WEIGHTS,
        )
        distance = smooth_l1(codes, wanted, beta=self.smooth_l1_beta)
        box_loss = jnp.where(positive, distance, 0.0).sum(axis=(1, 2))
        return (class_loss, count), (box_loss, count)

    def predict(
        self, variables: Tree, batch: Tree, rngs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`detected_boxes` [B, D, 4], `detected_label`, `detected_score`, `detected_valid` [B, D].

        D is `max_detections`; by descending score, padding (all 0) last. Boxes are cut to the
        picture.
        """
        apply = {"train": False, "rngs": rngs}
        extent = _extent(batch["image"])
        outputs, features = self.model.apply(variables, batch["image"], **apply)
        boxes, valid = self.find_proposals(outputs, extent, train=False)
        later = self.model.apply(variables, features, boxes, method="box_outputs", **apply)
        return self.detections(later, boxes, valid, extent)

    def detections(
        self,
        outputs: Tree,
        proposals: Float[Array, "b p 4"],
        valid: Bool[Array, "b p"],
        extent: Float[Array, "b 2"],
    ) -> dict[str, Array]:
        """What `predict` returns, from what the second stage says of `proposals`."""

        def of_image(
            logits: Float[Array, "p k"],
            codes: Float[Array, "p k 4"],
            proposals: Float[Array, "p 4"],
            valid: Bool[Array, " p"],
            extent: Float[Array, "2"],
        ) -> dict[str, Array]:
            score = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)[:, 1:]  # [P, K]
            codes = codes[:, 1:]
            anchors = jnp.broadcast_to(proposals[:, None], codes.shape)
            boxes = _cut(decode_boxes(codes, anchors, weights=BOX_CODE_WEIGHTS), extent)
            there = valid[:, None] & is_large(boxes, _MIN_DETECTION_SIDE)
            label = jnp.broadcast_to(jnp.arange(score.shape[1])[None], score.shape)
            return best_detections(
                boxes.reshape(-1, 4),
                label.ravel(),
                jnp.where(there, score, -jnp.inf).ravel(),
                min_score=self.min_score,
                nms_iou=self.nms_iou,
                max_detections=self.max_detections,
            )

        return jax.vmap(of_image)(
            outputs["class_logits"], outputs["box_codes"], proposals, valid, extent
        )

    def metrics(self) -> type[clu.metrics.Collection]:
        """As `detection_metrics` says."""
        return detection_metrics()


def _extent(image: Array) -> Float[Array, "b 2"]:
    return jnp.tile(jnp.array([image.shape[1:3]], jnp.float32), (len(image), 1))


def _cut(boxes: Float[Array, "*m 4"], extent: Float[Array, "2"]) -> Float[Array, "*m 4"]:
    """`boxes` cut to a picture of `extent` (h, w), which is no constant of the program."""
    limit = jnp.tile(extent[::-1], 2)
    return jnp.clip(boxes, 0, jnp.broadcast_to(limit, boxes.shape))


def _flat(x: Float[Array, "b h w a"]) -> Float[Array, "b m"]:
    return x.reshape(x.shape[0], -1)


def _rows(x: Float[Array, "b h w a 4"]) -> Float[Array, "b m 4"]:
    """The anchors of a level one after the other, in the order of `grid_anchors`."""
    return x.reshape(x.shape[0], -1, 4)
