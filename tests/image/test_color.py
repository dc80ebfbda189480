import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from cvjax.image import color

BYTES = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
# The corners of the colour cube and greys are where hue and saturation degenerate.
BYTES[0, :8] = [[(i >> 2 & 1) * 255, (i >> 1 & 1) * 255, (i & 1) * 255] for i in range(8)]
BYTES[1, :3] = [[7, 7, 7], [128, 128, 128], [200, 200, 201]]
IMAGE = jnp.asarray(BYTES, jnp.float32) / 255
GREY = IMAGE[..., :1]
HUE = jax.jit(color.adjust_hue)
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 300)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7])
@pytest.mark.parametrize(
    ("function", "enhancer"),
    [
        (color.adjust_brightness, ImageEnhance.Brightness),
        (color.adjust_contrast, ImageEnhance.Contrast),
        (color.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_adjustments_match_pillows_enhancers(function, enhancer, factor):
    expected = np.asarray(enhancer(Image.fromarray(BYTES)).enhance(factor), np.float64) / 255
    result = np.asarray(function(IMAGE, factor))
    # Pillow rounds the grey version to bytes (0.5) and cuts the result to bytes (1).
    assert np.abs(result - expected).max() * 255 < 0.5 * abs(1 - factor) + 1.01


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.0, 1 / 3, 0.45])
def test_hue_matches_colorsys(turns):
    expected = np.empty(IMAGE.shape)
    for i, j in np.ndindex(*IMAGE.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*np.asarray(IMAGE, np.float64)[i, j])
        expected[i, j] = colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)
    np.testing.assert_allclose(HUE(IMAGE, turns), expected, atol=2e-6)


def test_luma_matches_pillows_grey():
    expected = np.asarray(Image.fromarray(BYTES).convert("L"), np.float64)
    assert np.abs(np.asarray(color.luma(IMAGE))[..., 0] * 255 - expected).max() < 0.51


def test_gradients_are_finite_on_black_white_and_grey():
    def total(image):
        image = color.adjust_hue(image, 0.2)
        return color.adjust_saturation(color.adjust_contrast(image, 1.3), 0.7).sum()

    assert np.isfinite(jax.jit(jax.grad(total))(IMAGE)).all()


def test_jitter_without_strength_changes_nothing():
    np.testing.assert_array_equal(color.color_jitter(KEY, IMAGE), IMAGE)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("brightness", color.adjust_brightness),
        ("contrast", color.adjust_contrast),
        ("saturation", color.adjust_saturation),
    ],
)
def test_jitter_with_a_fixed_factor_is_the_adjustment(name, function):
    result = color.color_jitter(KEY, IMAGE, **{name: (1.4, 1.4)})
    np.testing.assert_allclose(result, function(IMAGE, 1.4), atol=1e-6)


def test_jitter_draws_brightness_from_its_range():
    pixel = jnp.full((1, 1, 1), 0.5)
    factors = 2 * np.asarray(
        jax.jit(jax.vmap(lambda key: color.color_jitter(key, pixel, brightness=0.4)))(KEYS)
    )
    assert 0.6 <= factors.min() < 0.62
    assert 1.38 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 5 * 0.8 / np.sqrt(12 * len(KEYS))


def test_jitter_draws_hue_in_turns_either_way():
    red = jnp.asarray([[[1.0, 0.0, 0.0]]])
    results = np.asarray(jax.jit(jax.vmap(lambda key: color.color_jitter(key, red, hue=0.1)))(KEYS))
    hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in results.reshape(-1, 3)])
    hues = (hues + 0.5) % 1.0 - 0.5
    assert -0.1 <= hues.min() < -0.095
    assert 0.095 < hues.max() <= 0.1


def test_jitter_leaves_the_colour_of_grey_images_alone():
    result = color.color_jitter(KEY, GREY, saturation=0.9, hue=0.5)
    np.testing.assert_array_equal(result, GREY)


def test_color_shift_moves_each_channel_by_its_own_constant():
    image = 0.3 + 0.4 * IMAGE
    shift = np.asarray(color.color_shift(KEY, image, max_shift=0.2) - image)
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1, :1], shift.shape), atol=1e-6)
    assert len(set(np.round(shift[0, 0], 5))) == 3
    assert np.abs(shift).max() <= 0.2


def test_pca_color_moves_along_the_components_by_their_eigenvalues():
    image = jnp.full((1, 1, 3), 0.5)
    shifts = (
        np.asarray(jax.jit(jax.vmap(lambda key: color.pca_color(key, image)))(KEYS))[:, 0, 0] - 0.5
    )
    vectors = np.asarray(color.IMAGENET_EIGENVECTORS)
    along = shifts @ np.linalg.inv(vectors).T
    expected = 0.1 * np.asarray(color.IMAGENET_EIGENVALUES)
    # The relative standard error of a standard deviation is 1 / sqrt(2 n).
    np.testing.assert_allclose(along.std(axis=0), expected, rtol=5 / np.sqrt(2 * len(KEYS)))


def test_pca_color_is_one_shift_for_all_pixels():
    image = 0.4 + 0.2 * IMAGE
    shift = np.asarray(color.pca_color(KEY, image) - image)
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1, :1], shift.shape), atol=1e-6)


def test_color_components_match_numpys_covariance():
    values, vectors = jax.jit(color.color_components)(IMAGE[None])
    covariance = np.cov(np.asarray(IMAGE, np.float64).reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(vectors * values[None] @ vectors.T, covariance, atol=1e-6)
    assert values[0] >= values[1] >= values[2]


@pytest.mark.parametrize(
    ("function", "image", "options", "message"),
    [
        (color.color_jitter, IMAGE, dict(hue=0.6), r"hue=0.6 must be in \[0, 0.5\]"),
        (color.color_jitter, IMAGE, dict(contrast=-1.0), "contrast=-1.0 must be at least 0"),
        (color.color_jitter, IMAGE[..., :2], dict(hue=0.1), "1 or 3 channels, got 2"),
        (color.color_shift, IMAGE, dict(max_shift=2.0), r"max_shift=2.0 must be in \[0, 1\]"),
    ],
)
def test_wrong_options_and_images_are_named(function, image, options, message):
    with pytest.raises(ValueError, match=message):
        function(KEY, image, **options)
