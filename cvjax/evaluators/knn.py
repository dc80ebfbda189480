"""k nearest neighbours among the features of the training split: exact, nothing is trained.

    evaluator = NearestNeighbours(features=features, k=20, distance="cosine")
    results = evaluator.run(variables, batches, training=training_batches)

The weighted vote is that of Wu et al. 2018 ("Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", section 3.4): each neighbour counts exp(cosine similarity / temperature).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from cvjax.evaluators.batches import Results
from cvjax.evaluators.features import Probe, Rows, count_classes, judged

DISTANCES = ("cosine", "euclidean")
VOTES = ("uniform", "weighted")
# Distances that are held at once: 2^23 in float64 are 64 MB.
_CHUNK = 1 << 23


@dataclass(frozen=True)
class NearestNeighbours(Probe):
    """Labels each evaluated example by a vote of its `k` nearest training examples.

    Scalar: `accuracy`. Arrays: `per_class_accuracy` [K], `confusion_matrix` [K, K].

    Attributes:
        distance: "cosine" (1 - similarity; a zero vector is similar to nothing) or "euclidean".
        vote: "uniform", or "weighted" by exp(similarity / temperature), for cosine only. Of
            classes with equal votes the smallest label wins.
        temperature: of the weighted vote; Wu et al. take 0.07.
    """

    SCALARS: ClassVar = ("accuracy",)

    k: int = 20
    distance: str = "cosine"
    vote: str = "uniform"
    temperature: float = 0.07

    def __post_init__(self) -> None:
        problems = []
        if self.k < 1:
            problems.append(f"k={self.k}: at least one neighbour has to vote.")
        if self.distance not in DISTANCES:
            problems.append(f"distance={self.distance!r}: use one of {DISTANCES}.")
        if self.vote not in VOTES:
            problems.append(f"vote={self.vote!r}: use one of {VOTES}.")
        if self.vote == "weighted" and self.distance != "cosine":
            problems.append("vote='weighted' weighs by cosine similarity: set distance='cosine'.")
        if self.vote != "weighted" and self.temperature != 0.07:
            problems.append("temperature: only vote='weighted' has one.")
        if not self.temperature > 0:
            problems.append(f"temperature={self.temperature}: it has to be greater than 0.")
        if problems:
            raise ValueError("\n".join(f"knn: {problem}" for problem in problems))

    def judge(self, known: Rows, asked: Rows) -> Results:
        """Raises ValueError if there are fewer than `k` rows known."""
        if self.k > len(known.labels):
            raise ValueError(f"knn: k={self.k}, but there are {len(known.labels)} neighbours.")
        indices, similarity = nearest_neighbours(
            known.features, asked.features, k=self.k, distance=self.distance
        )
        weights = np.ones(indices.shape)
        if self.vote == "weighted":  # relative to the nearest: exp must not overflow
            weights = np.exp((similarity - similarity[:, :1]) / self.temperature)
        classes = count_classes(known, asked)
        votes = np.zeros((len(indices), classes))
        np.add.at(votes, (np.arange(len(indices))[:, None], known.labels[indices]), weights)
        return judged(votes.argmax(axis=1), asked.labels, num_classes=classes, scalars={})


def nearest_neighbours(
    known: Float[np.ndarray, "n d"], asked: Float[np.ndarray, "m d"], *, k: int, distance: str
) -> tuple[Int[np.ndarray, "m k"], Float[np.ndarray, "m k"]]:
    """Rows of `known` nearest to each row of `asked`, nearest first, and how similar they are.

    Similarity is the cosine, or minus the squared Euclidean distance, in float64. Neighbours that
    are equally far, which rounding in float64 may undo, come in the order of `known`.
    """
    known, asked = known.astype(np.float64), asked.astype(np.float64)
    if distance == "cosine":
        known, asked = _unit(known), _unit(asked)
        offsets = np.zeros(len(known))
    else:
        centre = known.mean(axis=0)  # near 0, x^2 - 2xy + y^2 loses fewer digits
        known, asked = known - centre, asked - centre
        offsets = np.square(known).sum(axis=1) / 2
    rows = max(1, _CHUNK // len(known))
    indices = np.empty((len(asked), k), np.int64)
    similarity = np.empty((len(asked), k))
    for start in range(0, len(asked), rows):
        part = asked[start : start + rows]
        scores = part @ known.T - offsets
        # The k-th best score, then all that reach it: a partition alone would break ties at random.
        bound = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        for i, row in enumerate(scores):
            candidates = np.flatnonzero(row >= bound[i])
            best = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
            indices[start + i], similarity[start + i] = best, row[best]
    if distance == "euclidean":
        similarity = np.minimum(0, 2 * similarity - np.square(asked).sum(axis=1, keepdims=True))
    return indices, similarity


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
