import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.noise import noise, salt_and_pepper

KEY = jax.random.key(0)
GREY = jnp.full((64, 64, 3), 0.5)


def test_noise_has_its_mean_and_standard_deviation():
    added = np.asarray(noise(KEY, GREY, std=0.1)) - 0.5
    assert abs(added.mean()) < 5 * 0.1 / np.sqrt(added.size)
    np.testing.assert_allclose(added.std(), 0.1, rtol=5 / np.sqrt(2 * added.size))


def test_noise_is_gaussian():
    added = np.sort(np.asarray(noise(KEY, GREY, std=0.1)).ravel() - 0.5) / 0.1
    normal = np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))
    distance = np.abs(normal(added) - np.arange(added.size) / added.size).max()
    assert distance < 1.95 / np.sqrt(added.size)  # Kolmogorov-Smirnov, p = 0.001


def test_noise_differs_from_channel_to_channel():
    added = np.asarray(noise(KEY, GREY, std=0.1)).reshape(-1, 3)
    correlation = np.corrcoef(added.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(len(added))


def test_a_pair_draws_the_strength_once_an_image():
    keys = jax.random.split(KEY, 200)
    stds = np.asarray(
        jax.jit(jax.vmap(lambda key: noise(key, GREY[:32, :32], std=(0.02, 0.1))))(keys)
    )
    stds = stds.std(axis=(1, 2, 3))
    assert 0.019 < stds.min() < 0.025
    assert 0.095 < stds.max() < 0.105


def test_noise_stays_in_the_range_of_images():
    result = np.asarray(noise(KEY, GREY, std=2.0))
    assert result.min() == 0.0
    assert result.max() == 1.0


def test_salt_and_pepper_hits_its_share_of_pixels_white_and_black_alike():
    result = np.asarray(salt_and_pepper(KEY, GREY, fraction=0.2))
    error = 5 * np.sqrt(0.1 * 0.9 / 64**2)
    assert abs((result == 1).all(axis=-1).mean() - 0.1) < error
    assert abs((result == 0).all(axis=-1).mean() - 0.1) < error


def test_salt_and_pepper_leaves_the_other_pixels_alone():
    result = np.asarray(salt_and_pepper(KEY, GREY, fraction=0.2)).reshape(-1, 3)
    assert {tuple(pixel) for pixel in result} == {(0.0,) * 3, (0.5,) * 3, (1.0,) * 3}


@pytest.mark.parametrize(("function", "option"), [(noise, "std"), (salt_and_pepper, "fraction")])
def test_no_strength_changes_nothing(function, option):
    np.testing.assert_array_equal(function(KEY, GREY, **{option: 0.0}), GREY)


@pytest.mark.parametrize(("function", "option"), [(noise, "std"), (salt_and_pepper, "fraction")])
def test_negative_strengths_are_named(function, option):
    with pytest.raises(ValueError, match=f"{option}=-0.1 must be"):
        function(KEY, GREY, **{option: -0.1})
