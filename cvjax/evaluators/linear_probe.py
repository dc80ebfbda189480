"""Logistic regression on the features of the training split: how linear the classes lie in them.

    evaluator = LinearProbe(features=features)
    results = evaluator.run(variables, batches, training=training_batches)
    results.scalars["accuracy"], results.scalars["strength"]

As Kornblith et al. 2019 ("Do Better ImageNet Models Transfer Better?") and Radford et al. 2021 do:
L-BFGS on fixed features, the L2 penalty chosen on a held-out part of the training split, then
fitted again to the whole of it. The evaluated split is looked at once, at the end.
"""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from cvjax.data.source import stratified_split
from cvjax.evaluators.batches import Results
from cvjax.evaluators.features import Probe, Rows, count_classes, judged


@dataclass(frozen=True)
class LinearProbe(Probe):
    """Fits softmax regression to training features and scores the evaluated split.

    Minimises the mean cross-entropy + strength / 2 * |W|^2 (biases are free) on features that are
    standardised by the training examples' mean and deviation. Scalars: `accuracy`;
    `train_accuracy`; `held_out_accuracy`, of the choice; `strength`, what was chosen (of equally
    good ones the strongest); `iterations` of the last fit and `converged`, 1 or 0. Arrays:
    `per_class_accuracy` [K], `confusion_matrix` [K, K].

    Attributes:
        strengths: L2 penalties to choose from.
        held_out: share of each class of the training split that the choice is made on.
        standardize: False fits the features as they are.
        max_iterations: of L-BFGS, for each fit.
        seed: of the held-out part.
    """

    SCALARS: ClassVar = (
        "accuracy",
        "train_accuracy",
        "held_out_accuracy",
        "strength",
        "iterations",
        "converged",
    )

    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    held_out: float = 0.2
    standardize: bool = True
    max_iterations: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not self.strengths or min(self.strengths) <= 0:
            problems.append(f"strengths={self.strengths}: give some, all greater than 0.")
        if not 0 < self.held_out < 1:
            problems.append(f"held_out={self.held_out}: it has to lie between 0 and 1.")
        if self.max_iterations < 1:
            problems.append(f"max_iterations={self.max_iterations}: it has to be at least 1.")
        if problems:
            raise ValueError("\n".join(f"linear_probe: {problem}" for problem in problems))

    def judge(self, known: Rows, asked: Rows) -> Results:
        """Raises ValueError if `known` has one class, or too few examples to hold some out."""
        known_features, asked_features = known.features, asked.features
        if self.standardize:
            mean, deviation = known_features.mean(0, np.float64), known_features.std(0, np.float64)
            deviation = np.where(deviation > 0, deviation, 1)
            known_features = (known_features - mean) / deviation
            asked_features = (asked_features - mean) / deviation
        strength, held_out = self._choose(known_features, known.labels)
        fitted, converged = self._fit(known_features, known.labels, strength)
        return judged(
            fitted.predict(asked_features),
            asked.labels,
            num_classes=count_classes(known, asked),
            scalars={
                "train_accuracy": _accuracy(fitted, known_features, known.labels),
                "held_out_accuracy": held_out,
                "strength": strength,
                "iterations": float(np.max(fitted.n_iter_)),
                "converged": float(converged),
            },
        )

    def _choose(
        self, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]
    ) -> tuple[float, float]:
        """The best strength, and its accuracy on the held-out part."""
        if len(np.unique(labels)) < 2:
            raise ValueError(
                f"linear_probe: every training example has label {labels[0]}; there have to be two."
            )
        parts = stratified_split(labels, {"held_out": self.held_out}, seed=self.seed)
        fit, held = parts["train"], parts["held_out"]
        if len(held) == 0:
            raise ValueError(
                f"linear_probe: held_out={self.held_out} of each class of {len(labels)} training "
                "examples is no example. Raise held_out or train on more."
            )
        found = {}
        for strength in sorted(self.strengths, reverse=True):
            fitted, _ = self._fit(features[fit], labels[fit], strength)
            found[strength] = _accuracy(fitted, features[held], labels[held])
        best = max(found, key=lambda strength: found[strength])  # the first, strongest, of equals
        return best, found[best]

    def _fit(
        self, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], strength: float
    ) -> tuple[Any, bool]:
        """scikit-learn's model, and whether it converged."""
        from sklearn.exceptions import ConvergenceWarning  # here: importing it takes a second
        from sklearn.linear_model import LogisticRegression

        # scikit-learn weighs the sum of the losses, so its C depends on how many there are.
        model = LogisticRegression(
            C=1 / (strength * len(labels)), solver="lbfgs", max_iter=self.max_iterations
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(features, labels)
        return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _accuracy(
    fitted: Any, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]
) -> float:
    return float(np.mean(fitted.predict(features) == labels))
