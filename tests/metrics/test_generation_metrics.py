"""Distances of distributions and coverage against closed forms, SciPy and double loops."""

import numpy as np
import pytest
import scipy.linalg

from cvjax.metrics import generation as g


def rows(count: int, dim: int = 3, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)) + shift


def random_gaussian(seed: int, dim: int, rank: int) -> g.Gaussian:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((dim, rank))
    return g.Gaussian(rng.standard_normal(dim), factor @ factor.T)


@pytest.mark.parametrize("rank", [6, 3])
def test_frechet_distance_is_the_formula_with_scipys_matrix_root(rank):
    one, other = random_gaussian(0, 6, rank), random_gaussian(1, 6, 6)
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
    expected = np.square(one.mean - other.mean).sum() + np.trace(
        one.covariance + other.covariance - 2 * root.real
    )
    assert g.frechet_distance(one, other) == pytest.approx(expected, rel=1e-5)
    assert g.frechet_distance(other, one) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_diagonal_gaussians_is_that_of_their_deviations():
    """W2^2 = sum (m1 - m2)^2 + sum (s1 - s2)^2, Dowson & Landau 1982."""
    one = g.Gaussian(np.array([0.0, 1.0]), np.diag([4.0, 9.0]))
    other = g.Gaussian(np.array([3.0, 1.0]), np.diag([1.0, 16.0]))
    assert g.frechet_distance(one, other) == pytest.approx(9 + 1 + 1)
    assert g.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_fitted_gaussian_is_mean_and_unbiased_covariance():
    found = g.fitted_gaussian(np.array([[1.0], [3.0]]))
    np.testing.assert_allclose(found.mean, [2.0])
    np.testing.assert_allclose(found.covariance, [[2.0]])  # of 1 and 3, by one less than two


def test_polynomial_mmd_is_a_double_loop_that_leaves_out_each_with_itself():
    real, fake = rows(7), rows(5, seed=1, shift=0.5)

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y)) / 3 + 1) ** 3

    def pairs(xs):
        values = [kernel(a, b) for i, a in enumerate(xs) for j, b in enumerate(xs) if i != j]
        return sum(values) / len(values)

    across = np.mean([kernel(a, b) for a in real for b in fake])
    expected = pairs(real) + pairs(fake) - 2 * across
    assert g.polynomial_mmd(real, fake) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased_and_grows_with_the_shift():
    near = [g.polynomial_mmd(rows(60, seed=2 * i), rows(60, seed=2 * i + 1)) for i in range(60)]
    assert abs(np.mean(near)) < 3 * np.std(near) / np.sqrt(60)
    assert min(near) < 0 < max(near)
    far, spread = g.kernel_distance(rows(80), rows(90, seed=1, shift=1), subsets=9, subset_size=50)
    assert far > 3 * spread > 0


def test_manifold_figures_are_those_of_loops_over_balls():
    real, fake, k = rows(40, 2), rows(30, 2, seed=1, shift=0.8), 3

    def radius(xs, i):
        return sorted(np.linalg.norm(xs[i] - x) for j, x in enumerate(xs) if j != i)[k - 1]

    real_balls = [(x, radius(real, i)) for i, x in enumerate(real)]
    fake_balls = [(x, radius(fake, i)) for i, x in enumerate(fake)]
    hits = [sum(np.linalg.norm(y - x) <= r for x, r in real_balls) for y in fake]
    found = g.manifold_figures(real, fake, k=k)
    assert found.precision == pytest.approx(np.mean([h > 0 for h in hits]))
    assert found.density == pytest.approx(np.sum(hits) / (k * len(fake)))
    assert found.recall == pytest.approx(
        np.mean([any(np.linalg.norm(y - x) <= r for x, r in fake_balls) for y in real])
    )
    assert found.coverage == pytest.approx(
        np.mean([any(np.linalg.norm(y - x) <= r for y in fake) for x, r in real_balls])
    )
    assert 0 < found.recall < 1
    assert 0 < found.precision < 1


def test_manifold_figures_do_not_depend_on_how_many_distances_are_held(monkeypatch):
    real, fake = rows(50, 4), rows(40, 4, seed=1)
    whole = g.manifold_figures(real, fake)
    monkeypatch.setattr(g, "_CHUNK", 70)
    assert g.manifold_figures(real, fake) == pytest.approx(whole)


def test_one_repeated_good_example_has_precision_and_no_coverage():
    real = rows(200, 2)
    fake = real[:1] + 1e-9 * rows(200, 2, seed=1)
    found = g.manifold_figures(real, fake)
    assert found.precision == 1
    assert found.recall < 0.02
    assert found.coverage < 0.1


def test_class_score_is_one_for_no_opinion_and_the_number_of_classes_for_sure_equal_shares():
    assert g.class_figures(np.zeros((6, 4))).score == pytest.approx(1)
    sure = 1000 * np.eye(4)[np.arange(8) % 4]
    found = g.class_figures(sure)
    assert found.score == pytest.approx(4)
    assert (found.confidence, found.entropy) == (pytest.approx(1), pytest.approx(1))
    np.testing.assert_allclose(found.shares, 0.25)


def test_class_figures_are_those_of_a_loop():
    logits = 2 * rows(20, 3)
    p = np.array([np.exp(x) / np.exp(x).sum() for x in logits])
    overall = p.mean(axis=0)
    kl = [sum(a * np.log(a / b) for a, b in zip(x, overall)) for x in p]
    counts = np.array([sum(x.argmax() == i for x in p) for i in range(3)]) / 20
    found = g.class_figures(logits)
    assert found.score == pytest.approx(np.exp(np.mean(kl)))
    assert found.confidence == pytest.approx(np.mean([x.max() for x in p]))
    assert found.entropy == pytest.approx(-(counts * np.log(counts)).sum() / np.log(3))


def test_modes_are_counted_by_a_loop_with_their_reach():
    centres = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = np.array([[0.29, 0.0], [0.31, 0.0], [1.0, 0.2], [0.1, 0.1], [0.5, 0.5]])
    found = g.mode_figures(points, centres, 0.1)
    assert (found.covered, found.high_quality) == (2, pytest.approx(3 / 5))
    np.testing.assert_array_equal(found.counts, [2, 1, 0])
    assert g.mode_figures(points, centres, 0.1, least=2).covered == 1
    assert g.mode_figures(points, centres, 0.1, reach=3.2).counts.sum() == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: g.polynomial_mmd(rows(4, 2), rows(4, 3)), "2 features, made ones 3"),
        (lambda: g.manifold_figures(rows(5), rows(9), k=5), "5 real and 9 made"),
        (lambda: g.fitted_gaussian(np.array([[1.0, np.nan]])), "not finite"),
        (lambda: g.fitted_gaussian(rows(1)), "two rows"),
        (lambda: g.class_figures(np.zeros((3, 1))), "two classes"),
    ],
)
def test_what_has_no_figure_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
