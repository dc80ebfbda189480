import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.erase import cutout, rectangle

H, W = 12, 16
ONES = jnp.ones((H, W, 2))
KEYS = jax.random.split(jax.random.key(0), 600)


def holes(**options):
    images = jax.jit(jax.vmap(lambda key: cutout(key, ONES, **options)))(KEYS)
    return np.asarray(images) == 0.0


def test_the_hole_is_a_square_clipped_by_the_border():
    for hole in holes(size=5)[:100]:
        rows, columns = hole[..., 0].any(axis=1), hole[..., 0].any(axis=0)
        assert (hole == (rows[:, None] & columns)[..., None]).all()
        assert 3 <= rows.sum() <= 5
        assert 3 <= columns.sum() <= 5
        for line in (rows, columns):  # in one piece, whole unless at the border
            assert np.abs(np.diff(np.pad(line.astype(int), 1))).sum() == 2
            assert line.sum() == 5 or line[0] or line[-1]


def test_the_centre_is_any_pixel_alike():
    # A hole of one pixel is its own centre.
    counts = holes(size=1)[..., 0].sum(axis=0)
    assert counts.sum() == len(KEYS)
    expected = len(KEYS) / (H * W)
    # Chi-squared with 191 degrees of freedom: mean 191, standard deviation 20.
    assert ((counts - expected) ** 2 / expected).sum() < 191 + 5 * 20


def test_a_float_is_a_share_of_the_shorter_side():
    assert holes(size=0.5)[..., 0].sum(axis=(1, 2)).max() == 6 * 6


def test_the_hole_has_the_named_value():
    result = np.asarray(cutout(KEYS[0], ONES, size=4, value=0.25))
    assert set(np.unique(result)) == {0.25, 1.0}


def test_size_zero_removes_nothing():
    np.testing.assert_array_equal(cutout(KEYS[0], ONES, size=0.0), ONES)


@pytest.mark.parametrize(("size", "message"), [(0, "size=0 must be at least 1"), (1.5, "size=1.5")])
def test_impossible_sizes_are_named(size, message):
    with pytest.raises(ValueError, match=message):
        cutout(KEYS[0], ONES, size=size)


def test_rectangle_is_half_open_and_clipped():
    expected = np.zeros((H, W), bool)
    expected[2:4, 0:3] = True
    bounds = [jnp.asarray(x) for x in (2, -5, 4, 3)]
    np.testing.assert_array_equal(rectangle(*bounds, shape=(H, W)), expected)
