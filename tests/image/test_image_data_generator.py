"""The golden file holds outputs of Keras 3.15.1's apply_affine_transform (SciPy 1.17.1).

One grey 9x9 picture, six sets of (theta, tx, ty, shear, zx, zy), four fill modes, cval 0.25.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from cvjax.image.image_data_generator import (
    affine_matrix,
    image_data_generator,
    random_affine_matrix,
)
from cvjax.image.warp import warp

GOLDEN = Path(__file__).parents[1] / "golden" / "keras_apply_affine_transform.npz"
FIELDS = ("theta", "tx", "ty", "shear", "zx", "zy")
IMAGE = jnp.asarray(np.random.default_rng(1).random((8, 11, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 300)


def generate(**options):
    return jax.jit(lambda key: image_data_generator(key, IMAGE, **options))(KEYS[3])


def matrices(**options):
    draw = jax.jit(jax.vmap(lambda key: random_affine_matrix(key, (8, 11), **options)))
    return np.asarray(draw(KEYS), np.float64)


@pytest.mark.parametrize("mode", ["constant", "nearest", "reflect", "wrap"])
def test_warping_matches_kerass_own_output(mode):
    golden = np.load(GOLDEN)
    image = jnp.asarray(golden["image"])
    fill = {"constant": "scipy_constant", "wrap": "scipy_wrap"}.get(mode, mode)
    parameters = dict(zip(FIELDS, jnp.asarray(golden["parameters"].T)))
    matrices = jax.jit(jax.vmap(lambda p: affine_matrix((9, 9), **p)))(parameters)
    moved = jax.jit(jax.vmap(lambda m: warp(image, m, fill=fill, value=0.25)))(matrices)
    np.testing.assert_allclose(moved, golden[mode], atol=2e-5)


def test_oblong_pictures_match_scipy_with_kerass_matrices_about_their_own_centre():
    theta, shear, (tx, ty), (zx, zy) = np.radians(25), np.radians(10), (1.2, -0.7), (0.9, 1.2)
    rotation = [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    shift = [[1, 0, tx], [0, 1, ty], [0, 0, 1]]
    slant = [[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]]
    back = np.linalg.multi_dot([rotation, shift, slant, np.diag([zx, zy, 1])])
    centre = np.array([[1, 0, 11 / 2 - 0.5], [0, 1, 8 / 2 - 0.5], [0, 0, 1]])
    back = (centre @ back @ np.linalg.inv(centre))[[1, 0, 2]][:, [1, 0, 2]]  # (x, y) to (row, col)
    expected = np.stack(
        [
            scipy.ndimage.affine_transform(c, back[:2, :2], back[:2, 2], order=1, mode="nearest")
            for c in np.moveaxis(np.asarray(IMAGE, np.float64), -1, 0)
        ],
        axis=-1,
    )

    @jax.jit
    def moved():
        matrix = affine_matrix((8, 11), theta=25.0, shear=10.0, tx=tx, ty=ty, zx=zx, zy=zy)
        return warp(IMAGE, matrix, fill="nearest")

    np.testing.assert_allclose(moved(), expected, atol=1e-5)


def test_the_defaults_change_nothing():
    np.testing.assert_array_equal(generate(), IMAGE)


def assert_reaches(values, limit):
    assert 0.97 * limit < np.abs(values).max() <= limit + 1e-5
    assert abs((values > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(KEYS))


def test_float_shift_ranges_mean_shares_below_one_and_pixels_from_there():
    shifts = matrices(width_shift_range=0.2, height_shift_range=2.0)[:, :2, 2]
    assert_reaches(shifts[:, 0], 0.2 * 11)
    assert_reaches(shifts[:, 1], 2.0)


def test_an_int_shift_range_means_fewer_whole_pixels_and_a_sequence_a_choice():
    shifts = np.round(matrices(width_shift_range=[0.25, 0.5], height_shift_range=3)[:, :2, 2], 4)
    assert set(shifts[:, 0] / 11) == {-0.5, -0.25, 0.25, 0.5}
    assert set(shifts[:, 1]) == {-2, -1, 0, 1, 2}


def test_rotation_reaches_its_range_in_degrees():
    angle = matrices(rotation_range=40)
    assert_reaches(np.degrees(np.arctan2(angle[:, 0, 1], angle[:, 0, 0])), 40)


def test_each_axis_is_zoomed_and_flipped_on_its_own():
    scale = (
        1 / matrices(zoom_range=0.2, horizontal_flip=True, vertical_flip=True)[:, [0, 1], [0, 1]]
    )
    for axis in (0, 1):
        assert_reaches(scale[:, axis], 1.2)  # Keras's zoom is from output to input
        assert np.abs(scale[:, axis]).min() >= 0.8 - 1e-6
    assert np.abs(np.corrcoef(np.abs(scale).T)[0, 1]) < 0.3
    assert np.abs(np.corrcoef(np.sign(scale).T)[0, 1]) < 0.3


def test_channel_shift_moves_all_channels_alike_within_the_pictures_own_range():
    shifted = np.asarray(generate(channel_shift_range=0.3))
    difference = shifted - np.asarray(IMAGE)
    amount = difference.flat[np.abs(difference).argmax()]
    expected = np.clip(np.asarray(IMAGE) + amount, IMAGE.min(), IMAGE.max())
    assert 0 < abs(amount) <= 0.3
    np.testing.assert_allclose(shifted, expected, atol=1e-6)


def test_brightness_multiplies_by_a_factor_in_its_range():
    bright = generate(brightness_range=(0.5, 0.5))
    np.testing.assert_allclose(bright, 0.5 * IMAGE, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(fill_mode="mirror"), "fill_mode='mirror' is unknown. Known: constant, nearest"),
        (dict(zoom_range=1.5), "zoom_range=-0.5 must be at least"),
        (dict(rotation_range=-1), "rotation_range=-1 must be at least 0"),
        (dict(width_shift_range=[]), "offers no shift"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        image_data_generator(KEYS[0], IMAGE, **options)
