import numpy as np
import pytest

from cvjax.ops.multibox import SHAPES, multibox_priors


def test_priors_are_1420_and_lie_where_a_loop_puts_them():
    priors = np.asarray(multibox_priors((60, 120)))
    want = []
    for grid in (8, 6, 4, 3, 2):
        for row in range(grid):
            for column in range(grid):
                for w, h in SHAPES:
                    x, y = (column + 0.5) * 120 / grid, (row + 0.5) * 60 / grid
                    w_half, h_half = w * 120 / grid / 2, h * 60 / grid / 2
                    want.append([x - w_half, y - h_half, x + w_half, y + h_half])
    want.append([0, 0, 120, 60])
    assert len(want) == 11 * (64 + 36 + 16 + 9 + 4) + 1 == 1420
    np.testing.assert_allclose(priors, want, rtol=1e-5, atol=1e-4)
    assert len(np.unique(priors, axis=0)) == 1420
    with pytest.raises(ValueError, match="must be positive"):
        multibox_priors((60, 120), grids=(8, 0))
