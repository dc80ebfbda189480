"""A model's features of a whole split, for what is learnt from them: probes and neighbours.

    reader = FeatureReader(features=features, name="pooled")     # once a run: compiled once
    rows = reader.read(variables, batches)
    rows.features, rows.labels

`features(variables, batch)` returns the model's named features of raw batches, preprocessing
inside. Every valid example of the split is held in host memory as float32.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cvjax.evaluators.batches import Batch, Batches, Results

Features = Callable[[Any, Batch], Mapping[str, jax.Array]]


@dataclass(frozen=True)
class Rows:
    """Features and labels of a split, in its order."""

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]


@dataclass(frozen=True)
class FeatureReader:
    """Reads one of the model's features for every valid example.

    On a mesh that spans processes each process gets all rows, as `Batches` says.

    Attributes:
        name: of the features, such as "pooled"; maps [B, H, W, C] are flattened.
        average: maps are averaged over their places instead.
    """

    features: Features
    name: str
    average: bool = False

    def read(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Rows:
        """All rows of the batches.

        Raises:
            ValueError: as `Batches.run`; if there are no such features or no labels, or a feature
                is not finite.
        """
        found = self._batches.run(variables, batches, num_examples=num_examples).predictions
        rows = Rows(found["feature_row"], found["label"])
        if not np.isfinite(rows.features).all():
            bad = np.flatnonzero(~np.isfinite(rows.features).all(axis=1))
            raise ValueError(
                f"feature={self.name!r}: not finite for {len(bad)} of {len(rows.labels)} examples "
                f"(the first is number {bad[0]}); look at the model's parameters and statistics."
            )
        return rows

    def check(self, variables: Any, batch: Batch) -> None:
        """Raises ValueError, from shapes alone, if there are no such features or no labels."""
        jax.eval_shape(self._row, variables, dict(batch))

    def width(self, variables: Any, batch: Batch) -> int:
        """Length of a row, from shapes alone; raises as `check`."""
        return jax.eval_shape(self._row, variables, dict(batch))["feature_row"].shape[1]

    def _row(self, variables: Any, batch: Batch) -> dict[str, jax.Array]:
        if "label" not in batch or batch["label"].ndim != 1:
            raise ValueError(
                f"feature={self.name!r}: batches need one `label` an example, but hold only "
                f"{sorted(batch)}; use a source of labelled images."
            )
        known = self.features(variables, batch)
        if self.name not in known:
            raise ValueError(
                f"feature={self.name!r}: the model has no such features. "
                f"There are {', '.join(sorted(known))}."
            )
        rows = known[self.name]
        if self.average:
            rows = rows.mean(axis=tuple(range(1, rows.ndim - 1)))
        return {"feature_row": rows.reshape(len(rows), -1).astype(jnp.float32)}

    @cached_property
    def _batches(self) -> Batches:
        nothing = clu.metrics.Collection.create()
        return Batches(self._row, nothing, keep=("feature_row", "label"))


@dataclass(frozen=True)
class Probe:
    """What learns from the training split's features and is judged on another split.

    Attributes:
        feature: name of the model's features.
    """

    SCALARS: ClassVar[tuple[str, ...]]  # what `run` finds

    features: Features
    feature: str = "pooled"

    def run(
        self,
        variables: Any,
        batches: Iterable[Batch],
        *,
        training: Iterable[Batch],
        num_examples: int | None = None,
        num_training: int | None = None,
    ) -> Results:
        """The figures of all valid examples of `batches`, by what `training` teaches.

        Raises:
            ValueError: as `FeatureReader.read`; if nothing can be learnt from `training`.
        """
        known = self._reader.read(variables, training, num_examples=num_training)
        asked = self._reader.read(variables, batches, num_examples=num_examples)
        return self.judge(known, asked)

    def judge(self, known: Rows, asked: Rows) -> Results:
        """The figures of the rows `asked`, by what the rows `known` teach."""
        raise NotImplementedError

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for.

        Raises:
            ValueError: if the model has no such features.
        """
        self._reader.check(variables, batch)
        return self.SCALARS

    @cached_property
    def _reader(self) -> FeatureReader:
        return FeatureReader(self.features, self.feature)


def judged(
    predicted: Int[np.ndarray, "n"],
    labels: Int[np.ndarray, "n"],
    *,
    num_classes: int,
    scalars: Mapping[str, float],
) -> Results:
    """`accuracy` besides `scalars`, `per_class_accuracy` [K] (NaN without examples) and
    `confusion_matrix` [K, K] (truth, prediction)."""
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    totals = confusion.sum(axis=1)
    per_class = np.where(totals > 0, confusion.diagonal() / np.maximum(totals, 1), np.nan)
    return Results(
        scalars={"accuracy": float(np.mean(predicted == labels)), **scalars},
        arrays={"per_class_accuracy": per_class, "confusion_matrix": confusion},
        num_examples=len(labels),
    )


def count_classes(training: Rows, evaluated: Rows) -> int:
    """Classes are 0 to the greatest label of either split."""
    return 1 + int(max(training.labels.max(), evaluated.labels.max()))
