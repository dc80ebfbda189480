import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from cvjax.image.mix import cutmix, mixup

H, W = 10, 14
ZEROS, ONES = jnp.zeros((H, W, 1)), jnp.ones((H, W, 1))
KEYS = jax.random.split(jax.random.key(0), 500)


@functools.cache
def draws(function, **options):
    mix = jax.jit(jax.vmap(lambda key: function(key, ZEROS, ONES, **options)))
    images, weights = mix(KEYS)
    return np.asarray(images)[..., 0], np.asarray(weights)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weights_follow_the_beta_distribution(alpha):
    _, weights = draws(mixup, alpha=alpha)
    # float32 rounds the extremes of Beta(0.2, 0.2) to 0 and 1, which is no reason to fail.
    test = scipy.stats.kstest(np.clip(weights, 1e-7, 1 - 1e-7), scipy.stats.beta(alpha, alpha).cdf)
    assert test.pvalue > 0.001


def test_mixup_is_the_weighted_mean_of_the_two():
    rng = np.random.default_rng(0)
    first, second = (jnp.asarray(rng.random((H, W, 3)), jnp.float32) for _ in range(2))
    mixed, weight = jax.jit(mixup)(KEYS[0], first, second)
    np.testing.assert_allclose(mixed, (1 - weight) * first + weight * second, rtol=1e-6)


def test_cutmix_weight_is_the_share_of_pixels_that_were_pasted():
    images, weights = draws(cutmix, alpha=1.0)
    np.testing.assert_allclose(weights, images.mean(axis=(1, 2)), rtol=1e-6)


def test_cutmix_pastes_one_rectangle():
    images, _ = draws(cutmix, alpha=1.0)
    for image in images[:100] == 1:
        rows, columns = image.any(axis=1), image.any(axis=0)
        assert (image == (rows[:, None] & columns)).all()
        for line in (rows, columns):
            assert np.abs(np.diff(np.pad(line.astype(int), 1))).sum() in (0, 2)


def test_cutmix_rectangles_have_the_pictures_shape_where_no_border_cuts_them():
    images, _ = draws(cutmix, alpha=1.0)
    inner = [i for i in images if i.any() and not (i[0] + i[-1]).any() and not i[:, [0, -1]].any()]
    assert len(inner) > 20
    for image in inner:
        rows, columns = image.any(axis=1).sum(), image.any(axis=0).sum()
        # Each side is rounded to whole pixels.
        assert abs(rows / H - columns / W) <= 0.5 / H + 0.5 / W + 1e-6


def test_cutmix_mean_share_matches_a_simulation_of_the_papers_rule():
    _, weights = draws(cutmix, alpha=1.0)
    # Centre uniform, sides sqrt(area) of the picture's, clipped.
    rng = np.random.default_rng(0)
    side = np.sqrt(rng.random(20000))
    top, left = rng.random((2, 20000))
    height = np.clip(top + side / 2, 0, 1) - np.clip(top - side / 2, 0, 1)
    width = np.clip(left + side / 2, 0, 1) - np.clip(left - side / 2, 0, 1)
    # Five standard errors, and 0.02 for sides and centres rounded to pixels of so small a picture.
    error = 5 * weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - (height * width).mean()) < error + 0.02


@pytest.mark.parametrize("function", [mixup, cutmix])
def test_alpha_must_be_positive(function):
    with pytest.raises(ValueError, match="alpha"):
        function(KEYS[0], ZEROS, ONES, alpha=0.0)
    with pytest.raises(ValueError, match=r"alpha=-1\.0 must be at least 0"):
        function(KEYS[0], ZEROS, ONES, alpha=-1.0)
