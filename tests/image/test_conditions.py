"""What is left of a picture, against loops over its pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.conditions import CONDITIONS

IMAGE = np.random.default_rng(0).random((8, 12, 3)).astype(np.float32)
GREY = IMAGE @ np.array([0.299, 0.587, 0.114], np.float32)


def condition(name: str, image=IMAGE, seed: int = 0) -> np.ndarray:
    return np.asarray(CONDITIONS[name](jax.random.key(seed), jnp.asarray(image)))


def test_grey_is_brightness():
    np.testing.assert_allclose(condition("grey")[..., 0], GREY, atol=1e-6)


def test_masked_hides_a_square_of_half_the_side_that_moves_with_the_key():
    corners = set()
    for seed in range(6):
        found = condition("masked", seed=seed)
        hidden = (found == 0.5).all(axis=-1)
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert len(rows) == len(columns) == 4
        assert hidden.sum() == 16
        np.testing.assert_array_equal(found[~hidden], IMAGE[~hidden])
        corners.add((rows[0], columns[0]))
    assert len(corners) > 3


def test_low_resolution_is_the_mean_of_blocks():
    found = condition("low_resolution")
    for i in range(8):
        for j in range(12):
            block = IMAGE[i // 4 * 4 : i // 4 * 4 + 4, j // 4 * 4 : j // 4 * 4 + 4]
            np.testing.assert_allclose(found[i, j], block.mean(axis=(0, 1)), rtol=1e-5)
    with pytest.raises(ValueError, match="multiples of 4"):
        condition("low_resolution", IMAGE[:7])


def test_edges_are_sobels_by_a_loop():
    padded = np.pad(GREY, 1, mode="edge").astype(np.float64)
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    expected = np.zeros((8, 12))
    for i in range(8):
        for j in range(12):
            window = padded[i : i + 3, j : j + 3]
            expected[i, j] = np.hypot((window * kernel).sum(), (window * kernel.T).sum()) / 4
    np.testing.assert_allclose(condition("edges")[..., 0], np.clip(expected, 0, 1), atol=1e-5)
    step = np.zeros((4, 6, 1), np.float32)
    step[:, 3:] = 1
    np.testing.assert_allclose(condition("edges", step)[:, 2:4], 1)
    np.testing.assert_allclose(condition("edges", step)[:, :2], 0, atol=1e-5)
