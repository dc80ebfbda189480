import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.fractional_pool import fractional_max_pool, region_starts

SQRT2 = math.sqrt(2)


def starts(count, size, *, ratio=SQRT2, regions="pseudorandom", overlapping=True):
    """Those of `count` keys, one a row."""
    keys = jax.random.split(jax.random.key(7), count)
    options = {"ratio": ratio, "regions": regions, "overlapping": overlapping}
    return np.asarray(jax.vmap(lambda key: region_starts(key, size, **options))(keys))


@pytest.mark.parametrize(("regions", "overlapping"), [("random", False), ("pseudorandom", True)])
def test_pooling_is_a_double_loop_over_regions(regions, overlapping):
    key = jax.random.key(3)
    x = jax.random.normal(jax.random.key(0), (2, 11, 8, 2))
    y = fractional_max_pool(key, x, regions=regions, overlapping=overlapping)
    rows, columns = (
        np.asarray(region_starts(part, size, ratio=SQRT2, regions=regions, overlapping=overlapping))
        for part, size in zip(jax.random.split(key), (11, 8))
    )
    assert y.shape == (2, len(rows) - 1, len(columns) - 1, 2) == (2, 7, 5, 2)
    shared = 1 if overlapping else 0
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            region = x[:, rows[i] : rows[i + 1] + shared, columns[j] : columns[j + 1] + shared]
            np.testing.assert_array_equal(y[:, i, j], region.max((1, 2)))


@pytest.mark.parametrize(
    ("regions", "size", "ratio"),
    [("pseudorandom", 25, SQRT2), ("pseudorandom", 9, 1.0), ("random", 10, 2.0)],
)
def test_regions_of_one_or_two_pixels_cover_the_side(regions, size, ratio):
    for overlapping in (True, False):
        edges = starts(4, size, ratio=ratio, regions=regions, overlapping=overlapping)
        assert (edges[:, 0] == 0).all()
        assert (edges[:, -1] == (size - 1 if overlapping else size)).all()
        assert set(np.diff(edges).ravel()) <= {1, 2}
        assert edges.shape[1] - 1 == min(int(size / ratio), edges[0, -1])


def test_pseudorandom_regions_are_the_paper_s_ceilings():
    # a_i = ceil(alpha (i + u)): for one of the 64 phases u, and the phases differ by the key.
    span, count = 24, 17
    exact = {
        tuple(-(-span * (64 * i + u) // (64 * count)) + (span * -u // (64 * count))
              for i in range(count + 1))
        for u in range(64)
    }  # fmt: skip
    found = {tuple(edges) for edges in starts(12, 25).tolist()}
    assert found <= exact
    assert len(found) > 4


def test_random_regions_hold_as_many_twos_as_the_ratio_asks_for():
    steps = np.diff(starts(6, 25, regions="random"))
    np.testing.assert_array_equal((steps == 2).sum(1), 24 - 17)
    assert len({tuple(s) for s in steps.tolist()}) > 4


def test_ratio_and_size_are_checked():
    x = jnp.zeros((1, 4, 4, 1))
    with pytest.raises(ValueError, match="expected 1 to 2"):
        fractional_max_pool(jax.random.key(0), x, ratio=2.5)
    with pytest.raises(ValueError, match="too small"):
        fractional_max_pool(jax.random.key(0), x[:, :1], ratio=1.5)
