import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image import geometry
from cvjax.image.matrix import about_center, identity, rotation_matrix, transform_points

SHAPE = (20, 30)
DRAWS = 400
KEYS = jax.random.split(jax.random.key(0), DRAWS)


def draw(function, **options):
    """[DRAWS, 3, 3] in double precision."""
    matrices = jax.jit(jax.vmap(lambda key: function(key, SHAPE, **options)))(KEYS)
    return np.asarray(matrices, np.float64)


def assert_uniform(values, low, high):
    """Inside [low, high], reaching both ends, mean in the middle (five standard errors)."""
    span = high - low
    assert values.min() >= low - 1e-4
    assert values.max() <= high + 1e-4
    assert values.min() < low + 0.05 * span
    assert values.max() > high - 0.05 * span
    assert abs(values.mean() - (low + high) / 2) < 5 * span / np.sqrt(12 * DRAWS)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flips_happen_with_their_probability(p):
    for function, axis in [(geometry.horizontal_flip, 0), (geometry.vertical_flip, 1)]:
        share = (draw(function, p=p)[:, axis, axis] == -1).mean()
        assert abs(share - p) <= 5 * np.sqrt(p * (1 - p) / DRAWS)


def test_random_crop_shifts_by_every_whole_number_up_to_its_padding():
    shifts = draw(geometry.random_crop, padding=2)[:, :2, 2]
    assert {tuple(shift) for shift in shifts} == {
        (float(x), float(y)) for x in range(-2, 3) for y in range(-2, 3)
    }


def test_random_resized_crop_takes_windows_of_the_named_areas_and_ratios():
    matrices = draw(geometry.random_resized_crop, scale=(0.2, 0.5), ratio=(0.8, 1.6))
    width, height = SHAPE[1] / matrices[:, 0, 0], SHAPE[0] / matrices[:, 1, 1]
    assert_uniform(width * height / (SHAPE[0] * SHAPE[1]), 0.2, 0.5)
    assert_uniform(np.log(width / height), np.log(0.8), np.log(1.6))


def test_random_resized_crop_stays_inside_the_picture():
    # So wide that few draws fit, and the fallback is met, too.
    matrices = draw(geometry.random_resized_crop, scale=(0.7, 1.0), ratio=(2.0, 4.0))
    left, top = -matrices[:, 0, 2] / matrices[:, 0, 0], -matrices[:, 1, 2] / matrices[:, 1, 1]
    width, height = SHAPE[1] / matrices[:, 0, 0], SHAPE[0] / matrices[:, 1, 1]
    assert min(left.min(), top.min()) >= -1e-4
    assert (left + width).max() <= SHAPE[1] + 1e-3
    assert (top + height).max() <= SHAPE[0] + 1e-3


def test_zoom_magnifies_both_ways_alike():
    matrices = draw(geometry.zoom, scale=(0.7, 1.5))
    assert_uniform(matrices[:, 0, 0], 0.7, 1.5)
    np.testing.assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1])


def test_stretch_changes_the_ratio_and_keeps_the_area():
    matrices = draw(geometry.stretch, ratio=(0.5, 2.0))
    assert_uniform(np.log(matrices[:, 0, 0] / matrices[:, 1, 1]), np.log(0.5), np.log(2.0))
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0, rtol=1e-5)


def test_rotate_draws_its_angle_in_degrees():
    matrices = draw(geometry.rotate, degrees=40.0)
    assert_uniform(np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0])), -40, 40)


def test_a_fixed_angle_turns_counter_clockwise_about_the_centre():
    result = geometry.rotate(KEYS[0], SHAPE, degrees=(30.0, 30.0))
    expected = about_center(rotation_matrix(np.pi / 6), SHAPE)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_shear_leans_by_its_angle():
    matrices = draw(geometry.shear, degrees=(-5.0, 20.0), vertical_degrees=10.0)
    assert_uniform(np.degrees(np.arctan(matrices[:, 0, 1])), -5, 20)
    assert_uniform(np.degrees(np.arctan(matrices[:, 1, 0])), -10, 10)


def test_translate_reaches_its_share_of_each_side():
    shifts = draw(geometry.translate, fraction=(0.1, 0.2), whole_pixels=False)[:, :2, 2]
    assert_uniform(shifts[:, 0], -3, 3)
    assert_uniform(shifts[:, 1], -4, 4)


def test_translate_moves_whole_pixels_by_default():
    shifts = draw(geometry.translate, fraction=0.1)[:, :2, 2]
    np.testing.assert_array_equal(shifts, np.rint(shifts))
    assert set(shifts[:, 0]) == {-3, -2, -1, 0, 1, 2, 3}


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (geometry.random_crop, dict(padding=0)),
        (geometry.random_resized_crop, dict(scale=1.0, ratio=1.5)),
        (geometry.zoom, dict(scale=1)),
        (geometry.stretch, dict(ratio=1.0)),
        (geometry.shear, dict(degrees=0)),
        (geometry.rotate, dict(degrees=0.0)),
        (geometry.translate, dict(fraction=0.0, whole_pixels=False)),
    ],
)
def test_no_strength_moves_nothing(function, options):
    np.testing.assert_array_equal(function(KEYS[1], SHAPE, **options), identity())


@pytest.mark.parametrize("function", [geometry.zoom, geometry.stretch, geometry.shear])
def test_the_centre_of_the_picture_stays(function):
    centre = jnp.asarray([[SHAPE[1] / 2, SHAPE[0] / 2]])
    moved = transform_points(centre, function(KEYS[2], SHAPE))
    np.testing.assert_allclose(moved, centre, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (geometry.horizontal_flip, dict(p=1.5), r"p=1.5 must be in \[0, 1\]"),
        (geometry.random_crop, dict(padding=-1), "padding=-1 must be a whole number"),
        (geometry.rotate, dict(degrees=-3.0), "degrees=-3.0 must be at least 0"),
        (geometry.rotate, dict(degrees=(5.0, -5.0)), "must rise from low to high"),
        (geometry.shear, dict(degrees=90), r"degrees=90 must be in \[0, 89\]"),
        (geometry.zoom, dict(scale=0.0), "scale=0.0 must be at least 0.001"),
        (geometry.zoom, dict(scale=(1.0, 2.0, 3.0)), "must be a number or a pair"),
        (geometry.translate, dict(fraction=(0.1,)), "must be a number or .horizontal, vertical"),
    ],
)
def test_values_out_of_range_are_named(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(KEYS[0], SHAPE, **options)
