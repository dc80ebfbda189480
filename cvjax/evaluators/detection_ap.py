"""Average precision of a detector over a whole split, by COCO's and VOC's rules.

    evaluator = DetectionAP(predict=predict, metrics=task.metrics(), class_names=info.class_names)
    results = evaluator.run(variables, batches)
    results.scalars["AP50"], results.arrays["per_class_AP"], results.arrays["errors"]

`predict` returns `detected_boxes` [B, D, 4], `detected_label`, `detected_score`, `detected_valid`
[B, D]; batches hold `boxes` [B, N, 4], `box_label`, `box_valid` [B, N] and may hold `box_ignore`,
`box_area` [B, N] and `view_matrix` [B, 3, 3], as `cvjax.evaluators.detections` says. Padding, of
boxes and of whole examples, counts nowhere; on several processes each gets the same figures.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import clu.metrics
import jax
import numpy as np

from cvjax.evaluators.batches import Batch, Batches, Results
from cvjax.evaluators.coco_ap import COCO_NAMES, coco_ap
from cvjax.evaluators.detection_errors import KINDS, detection_errors
from cvjax.evaluators.detections import flat_detections, flat_truths
from cvjax.evaluators.voc_ap import voc_ap

DETECTED = ("detected_boxes", "detected_label", "detected_score", "detected_valid")
TRUE = ("boxes", "box_label", "box_valid")
OPTIONAL = ("box_ignore", "box_area", "view_matrix")
SHOWN = 16  # pictures with what is true and what was found, for people


@dataclass(frozen=True)
class DetectionAP:
    """Runs `predict` over batches, adds up `metrics`, and computes AP from all that was found.

    Scalars, besides those of `metrics`: COCO's twelve (`COCO_NAMES`; -1 where the split has no
    object of that size); `voc2007_AP50`, `voc2010_AP50` and `recall50`, means over the classes
    that have objects; `share_correct` and one share for each further kind of
    `detection_errors.KINDS`. Arrays: `per_class_AP`, `per_class_voc2007_AP50`,
    `per_class_voc2010_AP50`, `per_class_recall50` [K] (NaN without objects), `errors` [K, 6] and
    `missed` [K]. Pictures: the first `SHOWN` valid ones of the first batch as they are, with the
    fields of `TRUE` and `DETECTED`; none where other processes hold a part of that batch.

    Attributes:
        class_names: of the labels 0 to K - 1.
        similar: groups of class names that are easily taken for one another, for the errors.
    """

    predict: Callable[[Any, Batch], Mapping[str, jax.Array]]
    metrics: type[clu.metrics.Collection]
    class_names: tuple[str, ...]
    similar: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        named = list(chain.from_iterable(self.similar))
        unknown = [name for name in named if name not in self.class_names]
        if unknown or len(set(named)) < len(named):
            raise ValueError(
                f"similar={self.similar!r}: each name must be one of {self.class_names} and in one "
                "group only."
            )

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """The figures of all valid examples.

        Raises:
            ValueError: as `Batches.run`; if boxes are missing, a label is outside the classes, or a
                detection is not finite.
        """
        batches = iter(batches)
        first = next(batches, None)
        if first is not None:
            missing = [name for name in TRUE if name not in first]
            if missing:
                raise ValueError(
                    f"detection_ap: batches have no {missing}, only {sorted(first)}; use a source "
                    "of boxes, such as scenes, coco or voc."
                )
            batches = chain([first], batches)
        evaluator = self._evaluator(tuple(name for name in OPTIONAL if name in (first or ())))
        results = evaluator.run(variables, batches, num_examples=num_examples)
        scalars, arrays = self._measure(results.predictions, results.num_examples)
        return replace(
            results,
            scalars=results.scalars | scalars,
            arrays=results.arrays | arrays,
            predictions={},
            pictures=_pictures(first or {}, results.predictions),
        )

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for."""
        own = (*COCO_NAMES, "voc2007_AP50", "voc2010_AP50", "recall50")
        shares = tuple(f"share_{kind}" for kind in KINDS)
        return (*self._evaluator(()).scalar_names(variables, batch), *own, *shares)

    def _evaluator(self, optional: tuple[str, ...]) -> Batches:
        """One for each set of fields, kept: it is compiled once a run."""
        if optional not in self._evaluators:
            keep = (*TRUE, *DETECTED, *optional)
            self._evaluators[optional] = Batches(self.predict, self.metrics, keep=keep)
        return self._evaluators[optional]

    @cached_property
    def _evaluators(self) -> dict[tuple[str, ...], Batches]:
        return {}

    def _measure(
        self, rows: Mapping[str, np.ndarray], num_images: int
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        classes = len(self.class_names)
        truths, detections = flat_truths(rows), flat_detections(rows)
        for name, labels in (("box_label", truths.label), ("detected_label", detections.label)):
            if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
                raise ValueError(
                    f"detection_ap: {name} runs from {labels.min()} to {labels.max()}, but there "
                    f"are {classes} classes (0 to {classes - 1})."
                )
        coco = coco_ap(detections, truths, num_images=num_images, num_classes=classes)
        voc = voc_ap(detections, truths, num_classes=classes)
        similar = [[self.class_names.index(name) for name in group] for group in self.similar]
        errors = detection_errors(detections, truths, num_classes=classes, similar=similar)
        by_class = {
            "voc2007_AP50": voc.ap_2007,
            "voc2010_AP50": voc.ap_2010,
            "recall50": voc.recall,
        }
        present = ~np.isnan(voc.recall)
        means = {
            name: float(values[present].mean()) if present.any() else -1.0
            for name, values in by_class.items()
        }
        shares = errors.counts.sum(axis=0) / max(1, errors.counts.sum())
        scalars = coco.figures | means
        scalars |= {f"share_{kind}": float(share) for kind, share in zip(KINDS, shares)}
        arrays = {"per_class_AP": coco.per_class, "errors": errors.counts, "missed": errors.missed}
        arrays |= {f"per_class_{name}": values for name, values in by_class.items()}
        return scalars, arrays


def _pictures(batch: Batch, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch's first valid pictures and their rows, which are the first of the split."""
    image = batch.get("image")
    if image is None or not getattr(image, "is_fully_addressable", True):
        return {}
    valid = np.asarray(batch.get("valid", np.ones(len(image), bool)))
    shown = np.flatnonzero(valid)[:SHOWN]
    fields = {name: rows[name][: len(shown)] for name in (*TRUE, *DETECTED)}
    return {"image": np.asarray(image)[shown], **fields} if len(shown) else {}
