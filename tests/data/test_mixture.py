"""Points of a mixture: where their modes are, and that every split has its own."""

import numpy as np
import pytest

from cvjax.data.sources.mixture import RADIUS, Mixture


def test_ring_has_its_modes_at_equal_angles_and_points_around_them():
    source = Mixture("test", modes=6, std=0.02)
    points = source.images.reshape(-1, 2).astype(np.float64)
    for i in range(6):
        own = points[source.labels == i]
        angle = 2 * np.pi * i / 6
        centre = [0.5 + RADIUS * np.cos(angle), 0.5 + RADIUS * np.sin(angle)]
        assert 700 < len(own) < 970  # 5,000 / 6, five standard deviations around
        np.testing.assert_allclose(own.mean(axis=0), centre, atol=0.003)
        np.testing.assert_allclose(own.std(axis=0), 0.02, rtol=0.1)


def test_grid_has_its_modes_at_equal_distances():
    centres = Mixture("test", layout="grid", modes=25).centres()
    assert len(np.unique(centres.round(9), axis=0)) == 25
    ticks = np.unique(centres[:, 0].round(9))
    np.testing.assert_allclose(np.diff(ticks), RADIUS / 2)
    np.testing.assert_allclose(centres.mean(axis=0), 0.5)


def test_splits_differ_and_repeat_themselves():
    train, test, again = (Mixture(s, num_examples=50) for s in ("train", "test", "test"))
    np.testing.assert_array_equal(test.images, again.images)
    assert not np.intersect1d(train.images, test.images).size
    other = Mixture("test", num_examples=50, seed=1)
    assert not np.intersect1d(other.images, test.images).size


def test_points_are_pictures_of_one_pixel_in_the_unit_square():
    source = Mixture("train", std=0.05)
    assert len(source) == 50_000
    assert source.info.image_shape == source[0]["image"].shape == (1, 1, 2)
    assert source.images.dtype == np.float32
    assert source.images.min() >= 0
    assert source.images.max() <= 1
    batch = source.batch(np.array([3, 3, 1]))
    np.testing.assert_array_equal(batch["image"][0], source[3]["image"])


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(ValueError) as error:
        Mixture("val", layout="grid", modes=8, std=0.2, num_examples=0)
    for part in ("unknown split", "square number", "std=0.2", "num_examples=0"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="ring"):
        Mixture("test", layout="circle")
