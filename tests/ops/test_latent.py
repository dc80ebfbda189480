"""Latent vectors: their spread, their independence of the count, and the ways between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.latent import draw_latent, lerp, slerp


def test_vectors_have_the_priors_moments_and_do_not_depend_on_the_count():
    normal = np.asarray(draw_latent(jax.random.key(0), 4000, 3))
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(np.cov(normal.T), np.eye(3), atol=0.08)
    uniform = np.asarray(draw_latent(jax.random.key(0), 4000, 3, prior="uniform"))
    assert -1 <= uniform.min() < -0.99 < 0.99 < uniform.max() < 1
    np.testing.assert_allclose(uniform.var(axis=0), 1 / 3, rtol=0.06)
    np.testing.assert_array_equal(draw_latent(jax.random.key(0), 7, 3), normal[:7])
    with pytest.raises(ValueError, match="normal"):
        draw_latent(jax.random.key(0), 2, 3, prior="cauchy")


def test_great_circle_turns_evenly_and_keeps_the_length():
    start, end = jnp.array([2.0, 0, 0]), jnp.array([0, 2.0, 0])
    way = np.asarray(slerp(start, end, 5))
    for i, point in enumerate(way):
        angle = np.pi / 2 * i / 4
        np.testing.assert_allclose(point, [2 * np.cos(angle), 2 * np.sin(angle), 0], atol=1e-6)


def test_ways_of_many_begin_and_end_where_they_should():
    start, end = jax.random.normal(jax.random.key(1), (2, 4, 6))
    for way in (slerp(start, end, 3), lerp(start, end, 3)):
        assert way.shape == (4, 3, 6)
        np.testing.assert_allclose(way[:, 0], start, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(way[:, -1], end, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lerp(start, end, 3)[:, 1], (start + end) / 2, rtol=1e-6)


def test_parallel_vectors_and_zeros_take_the_straight_line():
    start = jnp.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    end = jnp.array([[3.0, 3.0], [0.0, 2.0], [1.0, 0.0]])
    way = np.asarray(slerp(start, end, 5))
    np.testing.assert_allclose(way[0], lerp(start, end, 5)[0], rtol=1e-6)
    np.testing.assert_allclose(way[2], np.tile([1.0, 0.0], (5, 1)), rtol=1e-6)
    assert np.isfinite(way[1]).all()
