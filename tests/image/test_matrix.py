import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.matrix import (
    about_center,
    compose,
    crop_matrix,
    horizontal_flip_matrix,
    identity,
    invert,
    rotation_matrix,
    scale_matrix,
    shear_matrix,
    transform_boxes,
    transform_points,
    translation_matrix,
    vertical_flip_matrix,
)


def moved(point, matrix):
    return np.asarray(transform_points(jnp.asarray([point], jnp.float32), matrix))[0]


def test_rotation_is_counter_clockwise_as_displayed():
    # East, a quarter turn counter-clockwise, is north, which is up, which is negative y.
    np.testing.assert_allclose(moved((1, 0), rotation_matrix(np.pi / 2)), (0, -1), atol=1e-6)


def test_shear_moves_lower_points_to_the_right():
    np.testing.assert_allclose(moved((1, 2), shear_matrix(0.5)), (2, 2))


def test_scale_stretches_each_axis_by_its_own_factor():
    np.testing.assert_allclose(moved((1, 2), scale_matrix(3, 0.5)), (3, 1))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [(horizontal_flip_matrix(10), (9, 2)), (vertical_flip_matrix(6), (1, 4))],
)
def test_flips_mirror_about_the_middle(matrix, expected):
    np.testing.assert_array_equal(moved((1, 2), matrix), expected)


def test_compose_applies_the_first_matrix_first():
    first, second = translation_matrix(1, 0), scale_matrix(2, 2)
    np.testing.assert_array_equal(moved((0, 0), compose(first, second)), (2, 0))


def test_compose_equals_a_product_in_double_precision():
    rng = np.random.default_rng(0)
    matrices = [np.vstack([rng.normal(size=(2, 3)), [0, 0, 1]]) for _ in range(4)]
    expected = matrices[3] @ matrices[2] @ matrices[1] @ matrices[0]
    result = compose(*(jnp.asarray(m, jnp.float32) for m in matrices))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_nothing_composed_is_the_identity():
    np.testing.assert_array_equal(compose(), np.eye(3))


def test_the_centre_stays_where_it_is():
    matrix = about_center(compose(rotation_matrix(0.7), scale_matrix(2, 3)), (6, 10))
    np.testing.assert_allclose(moved((5, 3), matrix), (5, 3), atol=1e-5)


def test_crop_maps_the_window_onto_the_whole_picture():
    matrix = crop_matrix(2, 1, 4, 3, shape=(6, 12))
    np.testing.assert_allclose(moved((2, 1), matrix), (0, 0))
    np.testing.assert_allclose(moved((6, 4), matrix), (12, 6))


def test_invert_matches_numpys_inverse():
    matrix = compose(rotation_matrix(0.3), shear_matrix(0.2, -0.4), translation_matrix(5, -7))
    np.testing.assert_allclose(
        invert(matrix), np.linalg.inv(np.asarray(matrix, np.float64)), rtol=1e-5, atol=1e-6
    )


def test_the_inverse_of_flips_and_whole_shifts_is_exact():
    matrix = compose(horizontal_flip_matrix(333), translation_matrix(-7, 12))
    np.testing.assert_array_equal(compose(matrix, invert(matrix)), identity())


def test_a_box_moves_to_the_bounds_of_its_moved_corners():
    boxes = jnp.asarray([[1, 2, 5, 3], [0, 0, 10, 8]], jnp.float32)
    flipped = transform_boxes(boxes, horizontal_flip_matrix(10))
    np.testing.assert_array_equal(flipped, [[5, 2, 9, 3], [0, 0, 10, 8]])
    turned = transform_boxes(boxes[:1], rotation_matrix(np.pi / 4))
    corners = np.array([[1, 2], [5, 2], [1, 3], [5, 3]])
    s = np.sqrt(0.5)
    x, y = s * (corners[:, 0] + corners[:, 1]), s * (corners[:, 1] - corners[:, 0])
    np.testing.assert_allclose(turned[0], [x.min(), y.min(), x.max(), y.max()], rtol=1e-6)
