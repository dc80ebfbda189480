"""Anchors from data: k-means over the sizes of boxes, with 1 - IoU as the distance.

Redmon and Farhadi 2017, https://arxiv.org/abs/1612.08242, section 2 ("dimension clusters").
NumPy: it runs once, before training.
"""

import numpy as np
from jaxtyping import Float


def cluster_anchors(
    sizes: Float[np.ndarray, "n 2"],
    count: int,
    *,
    seed: int,
    restarts: int = 10,
    max_rounds: int = 100,
) -> tuple[Float[np.ndarray, "count 2"], float]:
    """`count` anchors (width, height) by rising area, and the mean IoU of a box with its best.

    `sizes` are (width, height) of the training set's boxes, in any unit. A centre is the mean of
    its boxes. Each of the `restarts` draws its first centres apart from each other (k-means++) and
    runs until no box changes its centre, or `max_rounds`; the highest mean IoU seen wins, as the
    mean does not always improve it.

    Raises:
        ValueError: if a side is not positive, or there are fewer different sizes than anchors.
    """
    sizes = np.asarray(sizes, np.float64)
    if not (sizes > 0).all():
        raise ValueError("cluster_anchors: every width and height must be positive. Drop empties.")
    different = len(np.unique(sizes, axis=0))
    if not 1 <= count <= different or restarts < 1:
        raise ValueError(
            f"cluster_anchors: got count={count}, restarts={restarts} and {different} different "
            "sizes. Both must be at least 1, and there must be a different size for each anchor."
        )
    rng = np.random.default_rng(seed)
    best, best_iou = sizes[:count], -1.0
    for _ in range(restarts):
        centers, nearest = _apart(rng, sizes, count), None
        for _ in range(max_rounds):
            overlap = size_iou(sizes, centers)
            mean = float(overlap.max(axis=1).mean())
            if mean > best_iou:
                best, best_iou = centers.copy(), mean
            previous, nearest = nearest, overlap.argmax(axis=1)
            if previous is not None and (previous == nearest).all():
                break
            for i in range(count):
                if (nearest == i).any():  # a centre without boxes stays where it is
                    centers[i] = sizes[nearest == i].mean(axis=0)
    order = np.argsort(best.prod(axis=1), kind="stable")
    return best[order], best_iou


def size_iou(
    sizes: Float[np.ndarray, "n 2"], others: Float[np.ndarray, "m 2"]
) -> Float[np.ndarray, "n m"]:
    """IoU of every pair of (width, height), laid with their corners on each other."""
    inter = np.minimum(sizes[:, None], others[None]).prod(axis=-1)
    return inter / (sizes.prod(axis=-1)[:, None] + others.prod(axis=-1)[None] - inter)


def _apart(rng: np.random.Generator, sizes: np.ndarray, count: int) -> np.ndarray:
    """First centres among the sizes: each drawn by its squared distance from those before."""
    centers = [sizes[rng.integers(len(sizes))]]
    while len(centers) < count:
        distance = (1 - size_iou(sizes, np.stack(centers)).max(axis=1)).clip(0) ** 2
        # A size that is a centre already overlaps it by 1, up to rounding: never drawn twice.
        distance[(sizes[:, None] == np.stack(centers)[None]).all(-1).any(-1)] = 0
        centers.append(sizes[rng.choice(len(sizes), p=distance / distance.sum())])
    return np.stack(centers)
