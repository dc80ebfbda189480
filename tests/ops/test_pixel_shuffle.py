"""Channels to space, against a loop."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.pixel_shuffle import pixel_shuffle


@pytest.mark.parametrize("factor", [2, 3])
def test_channels_become_places_in_pytorchs_order(factor):
    x = np.random.default_rng(0).random((2, 3, 2, 2 * factor**2)).astype(np.float32)
    found = pixel_shuffle(jnp.asarray(x), factor)
    assert found.shape == (2, 3 * factor, 2 * factor, 2)
    for b, row, column, c in np.ndindex(found.shape):
        i, j = row % factor, column % factor
        channel = c * factor**2 + i * factor + j
        assert found[b, row, column, c] == x[b, row // factor, column // factor, channel]


def test_channels_that_do_not_spread_are_refused():
    with pytest.raises(ValueError, match="6 channels are no multiple of 2²"):
        pixel_shuffle(jnp.zeros((1, 2, 2, 6)), 2)
