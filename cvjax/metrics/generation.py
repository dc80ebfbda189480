"""How near generated examples are to real ones: distances of distributions, fidelity, coverage.

All look at a whole set at once, so they are NumPy functions of float64 on the host. Rows are
examples; columns are features of some network, which every figure depends on: a "FID" of another
network than Inception-v3 is no FID of the literature, and only like is comparable with like.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# Distances that are held at once: 2^23 in float64 are 64 MB.
_CHUNK = 1 << 23


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D, D]."""

    mean: np.ndarray
    covariance: np.ndarray


def fitted_gaussian(rows: Float[np.ndarray, "n d"]) -> Gaussian:
    """Mean and unbiased covariance of the rows.

    Raises:
        ValueError: for less than two rows.
    """
    rows = _checked(rows, "rows")
    if len(rows) < 2:
        raise ValueError(f"a covariance needs two rows and more, got {len(rows)}.")
    return Gaussian(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False)))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared Wasserstein-2 distance.

    FID (Heusel et al. 2017, https://arxiv.org/abs/1706.08500) where the Gaussians are fitted to
    Inception-v3's features. The root's trace is taken from the symmetric C1^(1/2) C2 C1^(1/2),
    whose eigenvalues are the same: nothing imaginary comes of covariances without full rank.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ other.covariance @ root
    shared = np.sqrt(np.clip(np.linalg.eigvalsh((inner + inner.T) / 2), 0, None)).sum()
    gap = np.square(one.mean - other.mean).sum()
    return float(max(gap + np.trace(one.covariance) + np.trace(other.covariance) - 2 * shared, 0))


def polynomial_mmd(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m _"], *, degree: int = 3
) -> float:
    """The unbiased estimate of the squared MMD with the kernel (x.y / D + 1)^degree.

    Binkowski et al. 2018, https://arxiv.org/abs/1801.01401, equation 4 and section 3.1. It is
    below 0 about as often as above where both sets come from one distribution.
    """
    real, fake = _same_width(real, fake)
    dim = real.shape[1]
    within = [
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
        for kernel in ((x @ x.T / dim + 1) ** degree for x in (real, fake))
    ]
    return float(sum(within) - 2 * ((real @ fake.T / dim + 1) ** degree).mean())


def kernel_distance(
    real: Float[np.ndarray, "n d"],
    fake: Float[np.ndarray, "m _"],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """(mean, standard deviation) of `polynomial_mmd` over random subsets without replacement.

    KID as Binkowski et al. 2018 report it. Sets smaller than `subset_size` are taken whole in
    their smaller number.
    """
    real, fake = _same_width(real, fake)
    size, rng = min(subset_size, len(real), len(fake)), np.random.default_rng(seed)
    found = [
        polynomial_mmd(
            real[rng.choice(len(real), size, replace=False)],
            fake[rng.choice(len(fake), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(found)), float(np.std(found))


class Manifold(NamedTuple):
    """What is said of two sets by the balls around examples, each out to its k-th neighbour.

    precision: share of fake examples inside some real ball (fidelity).
    recall: share of real examples inside some fake ball (diversity).
    density: real balls that a fake example lies in, over k, on average; may exceed 1.
    coverage: share of real balls with a fake example inside.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_figures(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m _"], *, k: int = 5
) -> Manifold:
    """Precision and recall (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991, with
    k = 3 there), density and coverage (Naeem et al. 2020, https://arxiv.org/abs/2002.09797, k = 5).

    Balls are closed, and no example is its own neighbour.

    Raises:
        ValueError: unless both sets have more than `k` examples.
    """
    real, fake = _same_width(real, fake)
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(
            f"k={k}: a k-th neighbour needs more than k examples, there are {len(real)} real and "
            f"{len(fake)} made ones."
        )
    real_radius, fake_radius = _ball_sizes(real, k), _ball_sizes(fake, k)
    inside_real = np.zeros(len(fake), np.int64)  # balls of real examples around each fake one
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for start, squares in _distances(fake, real):
        part = slice(start, start + len(squares))
        inside = squares <= real_radius[None]
        inside_real[part] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (squares <= fake_radius[part, None]).any(axis=0)
    return Manifold(
        precision=float((inside_real > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside_real.mean() / k),
        coverage=float(covered.mean()),
    )


class ClassFigures(NamedTuple):
    """What a classifier says of generated pictures.

    confidence: mean probability of the likeliest class.
    score: exp(mean KL(p(y|x) || p(y))), from 1 to the number of classes (the "Inception score" of
        Salimans et al. 2016, https://arxiv.org/abs/1606.03498, where the classifier is that).
    entropy: of the shares below over log(K): 1 for equal ones, 0 for a single class.
    shares: [K], how many of the pictures are named each class.
    """

    confidence: float
    score: float
    entropy: float
    shares: np.ndarray


def class_figures(logits: Float[np.ndarray, "n k"]) -> ClassFigures:
    """The figures of a classifier's scores, one row a picture.

    Raises:
        ValueError: for less than two classes, which leave nothing to be sure of.
    """
    logits = _checked(logits, "logits")
    if logits.shape[1] < 2:
        raise ValueError(f"class figures need two classes and more, got {logits.shape[1]}.")
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    overall = p.mean(axis=0)
    divergence = (p * (log_p - np.log(np.maximum(overall, 1e-300)))).sum(axis=1)
    classes = logits.shape[1]
    shares = np.bincount(logits.argmax(axis=1), minlength=classes) / len(logits)
    named = shares[shares > 0]
    return ClassFigures(
        confidence=float(p.max(axis=1).mean()),
        score=float(np.exp(divergence.mean())),
        entropy=float(-(named * np.log(named)).sum() / np.log(classes)),
        shares=shares,
    )


class ModeFigures(NamedTuple):
    """Where points fall that should come from a mixture of narrow modes.

    covered: modes with at least one point within reach.
    high_quality: share of the points within reach of their nearest mode.
    counts: [M], points within reach of each mode.
    """

    covered: int
    high_quality: float
    counts: Int[np.ndarray, " m"]


def mode_figures(
    points: Float[np.ndarray, "n 2"],
    centres: Float[np.ndarray, "m 2"],
    std: float,
    *,
    reach: float = 3.0,
    least: int = 1,
) -> ModeFigures:
    """Modes covered and points of high quality: within `reach` standard deviations of a mode.

    Srivastava et al. 2017 (VEEGAN, https://arxiv.org/abs/1705.07761, section 4.1) with 3 standard
    deviations and 1 point; `least` points make a mode covered.
    """
    points, centres = _same_width(points, centres)
    squares = np.square(points[:, None] - centres[None]).sum(axis=-1)
    nearest = squares.argmin(axis=1)
    good = squares[np.arange(len(points)), nearest] <= (reach * std) ** 2
    counts = np.bincount(nearest[good], minlength=len(centres))
    return ModeFigures(int((counts >= least).sum()), float(good.mean()), counts)


def _ball_sizes(rows: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row's k-th nearest other row."""
    sizes = np.empty(len(rows))
    for start, squares in _distances(rows, rows):
        places = np.arange(len(squares))
        squares[places, start + places] = np.inf  # no example is its own neighbour
        sizes[start : start + len(squares)] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    return sizes


def _distances(asked: np.ndarray, known: np.ndarray):
    """(first row, squared distances [r, n]) of some rows of `asked` at a time to all `known`."""
    rows = max(1, _CHUNK // len(known))
    centre = known.mean(axis=0)  # near 0, x^2 - 2xy + y^2 loses fewer digits
    known, asked = known - centre, asked - centre
    lengths = np.square(known).sum(axis=1)
    for start in range(0, len(asked), rows):
        part = asked[start : start + rows]
        squares = np.square(part).sum(axis=1)[:, None] - 2 * part @ known.T + lengths[None]
        yield start, np.maximum(squares, 0)


def _same_width(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real, fake = _checked(real, "real"), _checked(fake, "made")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real examples have {real.shape[1]} features, made ones {fake.shape[1]}; one network "
            "has to look at both."
        )
    return real, fake


def _checked(rows: np.ndarray, name: str) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or len(rows) < 1 or not np.isfinite(rows).all():
        raise ValueError(
            f"{name}: expected finite numbers, a row an example; got {rows.shape}"
            + ("." if rows.size and np.isfinite(rows).all() else " with some that are not finite.")
        )
    return rows
