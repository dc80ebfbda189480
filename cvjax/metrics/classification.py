"""Metrics of classifiers that merge by addition, so that any split of a data set gives one answer.

Each class is a `clu.metrics.Metric` of plain sums. `from_model_output` reads scores `logits`
[B, K], integer `label` [B] and `valid` [B] (False marks padding, which never counts; absent means
all valid) and ignores other outputs, so any of them go into one `clu.metrics.Collection`. Under jit
with the batch sharded over a mesh the sums are global. `compute` works on device arrays and, in
float64, on sums already read back to the host as NumPy arrays.

The prediction is the class of the highest score, and of equal scores the first (`argmax`); a NaN
counts as highest. Top-k uses the same order, so top-1, the confusion matrix and the per-class
figures always agree with each other.
"""

from collections.abc import Callable
from typing import Any

import clu.metrics
import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Valid = Bool[Array, "b"] | None


class Sums(clu.metrics.Metric):
    """A metric whose fields are sums: `merge` adds them, zeros of any shape are empty."""

    def merge(self, other: "Sums") -> "Sums":
        return jax.tree.map(lambda a, b: a + b, self, other)

    @classmethod
    def empty(cls) -> "Sums":
        # A scalar zero broadcasts against per-class sums, whose size only the data knows.
        return cls(**{name: jnp.zeros((), jnp.int32) for name in cls.__dataclass_fields__})


@flax.struct.dataclass
class Mean(Sums):
    """The mean over valid examples of a value per example."""

    total: Any  # [] float32
    count: Any  # [] int32

    @classmethod
    def from_model_output(cls, values: Float[Array, "b"], valid: Valid = None, **_: Any) -> "Mean":
        valid = _all_valid(values) if valid is None else valid
        return cls(total=jnp.where(valid, values, 0.0).sum(), count=_count(valid))

    @classmethod
    def of(cls, value: Callable[..., Float[Array, "b"]]) -> type["Mean"]:
        """The mean of `value(**outputs)`, such as a loss computed from `logits` and `label`."""

        @flax.struct.dataclass
        class MeanOf(cls):
            @classmethod
            def from_model_output(cls, valid: Valid = None, **outputs: Any) -> "Mean":
                return super().from_model_output(value(**outputs), valid)

        return MeanOf

    def compute(self) -> Any:
        return _ratio(self.total, self.count)


@flax.struct.dataclass
class Accuracy(Sums):
    """The fraction of examples whose label is among the k highest scores (k = 1; else `top(k)`)."""

    correct: Any  # [] int32
    count: Any  # [] int32

    @classmethod
    def from_model_output(
        cls, logits: Float[Array, "b k"], label: Int[Array, "b"], valid: Valid = None, **_: Any
    ) -> "Accuracy":
        return cls._from_top(1, logits, label, valid)

    @classmethod
    def top(cls, k: int) -> type["Accuracy"]:
        """Top-k accuracy."""

        @flax.struct.dataclass
        class TopAccuracy(cls):
            @classmethod
            def from_model_output(
                cls, logits: Array, label: Array, valid: Valid = None, **_: Any
            ) -> "Accuracy":
                return cls._from_top(k, logits, label, valid)

        return TopAccuracy

    @classmethod
    def _from_top(cls, k: int, logits: Array, label: Array, valid: Valid) -> "Accuracy":
        valid = _all_valid(label) if valid is None else valid
        return cls(correct=_count(in_top_k(logits, label, k) & valid), count=_count(valid))

    def compute(self) -> Any:
        return _ratio(self.correct, self.count)


@flax.struct.dataclass
class ConfusionMatrix(Sums):
    """How often class i (row, the truth) was taken for class j (column, the prediction)."""

    matrix: Any  # [K, K] int32

    @classmethod
    def from_model_output(
        cls, logits: Float[Array, "b k"], label: Int[Array, "b"], valid: Valid = None, **_: Any
    ) -> "ConfusionMatrix":
        valid = _all_valid(label) if valid is None else valid
        k = logits.shape[-1]
        matrix = jnp.zeros((k, k), jnp.int32)
        row = jnp.where(valid & (label >= 0), label, k)  # beyond the last row: dropped
        return cls(matrix=matrix.at[row, predicted_class(logits)].add(1, mode="drop"))

    def compute(self) -> Any:
        return self.matrix


@flax.struct.dataclass
class ClassCounts(Sums):
    """Per class: how many examples are of it, were taken for it, and both."""

    actual: Any  # [K] int32
    predicted: Any  # [K] int32
    correct: Any  # [K] int32

    @classmethod
    def from_model_output(
        cls, logits: Float[Array, "b k"], label: Int[Array, "b"], valid: Valid = None, **_: Any
    ) -> "ClassCounts":
        valid = _all_valid(label) if valid is None else valid
        k = logits.shape[-1]
        predicted = predicted_class(logits)
        return cls(
            actual=_histogram(label, valid, k),
            predicted=_histogram(predicted, valid, k),
            correct=_histogram(label, valid & (predicted == label), k),
        )

    def compute(self) -> Any:
        return {"actual": self.actual, "predicted": self.predicted, "correct": self.correct}


@flax.struct.dataclass
class PerClassAccuracy(ClassCounts):
    """Per class, the fraction of its examples that were recognised (recall); NaN if it has none."""

    def compute(self) -> Any:
        return _ratio(self.correct, self.actual)


@flax.struct.dataclass
class PerClassPrecision(ClassCounts):
    """Per class, the fraction of right answers where it was the answer; NaN if it never was."""

    def compute(self) -> Any:
        return _ratio(self.correct, self.predicted)


@flax.struct.dataclass
class MacroRecall(ClassCounts):
    """The mean of the per-class accuracy over the classes that occur ("balanced accuracy")."""

    def compute(self) -> Any:
        occurs = self.actual > 0
        recall = self.correct / (self.actual + ~occurs)  # 0 for a class that does not occur
        return _ratio(recall.sum(), occurs.sum())


@flax.struct.dataclass
class CalibrationError(Sums):
    """Expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599, eq. 3).

    Examples fall into equal bins (m / M, (m + 1) / M] by the confidence of the prediction; the
    error is the mean over examples of |accuracy - confidence| of their bin. 15 bins as in the
    paper, else `with_bins`. Reads `probability` [B, K], the confidence in each class.
    """

    count: Any  # [M] int32
    correct: Any  # [M] int32
    confidence: Any  # [M] float32

    @classmethod
    def from_model_output(
        cls,
        logits: Float[Array, "b k"],
        label: Int[Array, "b"],
        probability: Float[Array, "b k"],
        valid: Valid = None,
        **_: Any,
    ) -> "CalibrationError":
        return cls._from_bins(15, logits, label, probability, valid)

    @classmethod
    def with_bins(cls, bins: int) -> type["CalibrationError"]:
        """The calibration error over another number of bins."""

        @flax.struct.dataclass
        class BinnedCalibrationError(cls):
            @classmethod
            def from_model_output(
                cls,
                logits: Array,
                label: Array,
                probability: Array,
                valid: Valid = None,
                **_: Any,
            ) -> "CalibrationError":
                return cls._from_bins(bins, logits, label, probability, valid)

        return BinnedCalibrationError

    @classmethod
    def _from_bins(
        cls, bins: int, logits: Array, label: Array, probability: Array, valid: Valid
    ) -> "CalibrationError":
        valid = _all_valid(label) if valid is None else valid
        predicted = predicted_class(logits)
        confidence = jnp.take_along_axis(probability, predicted[:, None], axis=-1)[:, 0]  # [B]
        confidence = confidence.astype(jnp.float32)
        edges = jnp.asarray(np.linspace(0, 1, bins + 1)[1:-1], jnp.float32)
        index = jnp.searchsorted(edges, confidence, side="left")  # [B], 0 ... bins - 1
        held = jnp.zeros(bins, jnp.float32)
        return cls(
            count=_histogram(index, valid, bins),
            correct=_histogram(index, valid & (predicted == label), bins),
            confidence=held.at[index].add(jnp.where(valid, confidence, 0.0)),
        )

    def compute(self) -> Any:
        return _ratio(abs(self.correct - self.confidence).sum(), self.count.sum())


def predicted_class(logits: Float[Array, "b k"]) -> Int[Array, "b"]:
    """The class of the highest score; of equal scores the first, and NaN counts as highest."""
    return jnp.argmax(logits, axis=-1)


def in_top_k(logits: Float[Array, "b k"], label: Int[Array, "b"], k: int) -> Bool[Array, "b"]:
    """Whether the label's score is among the k highest; of equal scores the first classes win.

    scikit-learn's `top_k_accuracy_score` lets the last classes win instead; without ties the two
    agree. A model that gives every class the same score gets what guessing gets, not 100%.
    """
    scores = jnp.where(jnp.isnan(logits), jnp.inf, logits)
    classes = jnp.arange(logits.shape[-1])[None, :]  # [1, K]
    truth = label[:, None]  # [B, 1]
    own = jnp.take_along_axis(scores, truth, axis=-1, mode="fill")  # NaN where no such class
    ahead = (scores > own) | ((scores == own) & (classes < truth))
    known = (label >= 0) & (label < logits.shape[-1])
    return known & (ahead.sum(axis=-1) < k)


def _all_valid(per_example: Array) -> Array:
    return jnp.ones(per_example.shape[0], bool)


def _count(mask: Array) -> Array:
    return mask.sum(dtype=jnp.int32)


def _histogram(index: Array, valid: Array, size: int) -> Array:
    place = jnp.where(valid & (index >= 0), index, size)  # beyond the end: dropped
    return jnp.zeros(size, jnp.int32).at[place].add(1, mode="drop")


def _ratio(part: Any, whole: Any) -> Any:
    """part / whole; NaN, without a warning, where the whole is 0."""
    if isinstance(whole, jax.Array):
        return jnp.where(whole == 0, jnp.nan, part / jnp.where(whole == 0, 1, whole))
    whole = np.where(whole == 0, np.nan, whole)
    return part / whole
