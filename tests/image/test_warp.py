import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

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
    transform_points,
    translation_matrix,
    vertical_flip_matrix,
)
from cvjax.image.warp import FILL_MODES, move_whole_pixels, warp

H, W = 7, 10
IMAGE = jnp.asarray(np.random.default_rng(0).random((H, W, 2)), jnp.float32)
# Turns, slants, stretches and shifts, and far enough to see every fill mode repeat.
GENERAL = about_center(
    compose(
        rotation_matrix(0.6), shear_matrix(0.3), scale_matrix(0.45, 0.6), translation_matrix(1.3, 2)
    ),
    (H, W),
)
WARP = jax.jit(warp, static_argnames=("shape", "fill", "value", "order"))
MOVE = jax.jit(move_whole_pixels, static_argnames=("fill", "value"))
# scipy's names. Its "constant" ends at the centres of the outermost pixels.
SCIPY = {
    "nearest": "nearest",
    "reflect": "reflect",
    "wrap": "grid-wrap",
    "scipy_constant": "constant",
    "scipy_wrap": "wrap",
}


def scipy_warp(image, matrix, *, mode, order, cval=0.0):
    inverse = np.linalg.inv(np.asarray(matrix, np.float64))
    # from (x, y) of pixel squares to (row, column) of pixel centres
    swap = np.array([[0, 1, -0.5], [1, 0, -0.5], [0, 0, 1]])
    inverse = swap @ inverse @ np.linalg.inv(swap)
    channels = [
        scipy.ndimage.affine_transform(
            np.asarray(c, np.float64),
            inverse[:2, :2],
            inverse[:2, 2],
            order=order,
            mode=mode,
            cval=cval,
        )
        for c in np.moveaxis(np.asarray(image), -1, 0)
    ]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("fill", list(SCIPY))
def test_warp_matches_scipy(fill, order):
    expected = scipy_warp(IMAGE, GENERAL, mode=SCIPY[fill], order=order, cval=0.3)
    result = WARP(IMAGE, GENERAL, fill=fill, value=0.3, order=order)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(("order", "resampling"), [(0, 0), (1, 2)])
def test_constant_fill_matches_pillow(order, resampling):
    inverse = np.asarray(invert(GENERAL), np.float64)
    plane = Image.fromarray(np.asarray(IMAGE[..., 0]), mode="F")
    expected = plane.transform(
        (W, H),
        Image.Transform.AFFINE,
        inverse[:2].ravel().tolist(),
        resample=resampling,
        fillcolor=0.3,
    )
    result = WARP(IMAGE[..., :1], GENERAL, fill="constant", value=0.3, order=order)[..., 0]
    np.testing.assert_allclose(result, np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("fill", FILL_MODES)
def test_identity_returns_the_very_same_pixels(fill):
    np.testing.assert_array_equal(WARP(IMAGE, identity(), fill=fill), IMAGE)


def test_a_quarter_turn_of_a_square_is_exact():
    square = IMAGE[:, :H]
    matrix = about_center(jnp.asarray([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], jnp.float32), (H, H))
    np.testing.assert_array_equal(WARP(square, matrix), np.rot90(square))


def test_a_window_of_whole_pixels_is_exact():
    matrix = crop_matrix(3, 2, 4, 3, shape=(3, 4))
    np.testing.assert_array_equal(WARP(IMAGE, matrix, shape=(3, 4)), IMAGE[2:5, 3:7])


def test_doubling_the_size_matches_pillows_bilinear_resize():
    plane = Image.fromarray(np.asarray(IMAGE[..., 0]), mode="F")
    expected = np.asarray(plane.resize((2 * W, 2 * H), Image.Resampling.BILINEAR))
    result = WARP(IMAGE[..., :1], scale_matrix(2, 2), shape=(2 * H, 2 * W), fill="nearest")
    np.testing.assert_allclose(result[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("fill", FILL_MODES)
@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-9, 5)])
@pytest.mark.parametrize("flip", [False, True])
def test_whole_pixel_moves_equal_warp_bit_for_bit(fill, shift, flip):
    flips = [horizontal_flip_matrix(W), vertical_flip_matrix(H)] if flip else []
    matrix = compose(*flips, translation_matrix(*shift))
    np.testing.assert_array_equal(
        MOVE(IMAGE, matrix, fill=fill, value=0.3),
        WARP(IMAGE, matrix, fill=fill, value=0.3),
    )


def test_a_whole_shift_matches_padding_and_slicing():
    for fill, mode in dict(constant="constant", nearest="edge", reflect="symmetric").items():
        padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), mode=mode)
        moved = MOVE(IMAGE, translation_matrix(2, -1), fill=fill)
        np.testing.assert_array_equal(moved, padded[3 : 3 + H, 0:W])


def test_a_marked_point_moves_with_its_pixel():
    image = jnp.zeros((21, 31, 1)).at[6, 20].set(1.0)
    matrix = about_center(compose(rotation_matrix(0.5), scale_matrix(1.2, 0.9)), (21, 31))
    moved = np.asarray(WARP(image, matrix))[..., 0]
    rows, columns = np.mgrid[:21, :31] + 0.5
    centroid = np.array([(columns * moved).sum(), (rows * moved).sum()]) / moved.sum()
    expected = transform_points(jnp.asarray([[20.5, 6.5]]), matrix)[0]
    # A bilinear spot has its centroid within a quarter of a pixel of its point.
    np.testing.assert_allclose(centroid, expected, atol=0.25)


def test_gradient_in_the_matrix_matches_finite_differences():
    @jax.jit
    def energy(matrix):
        return (warp(IMAGE, matrix, fill="nearest") ** 2).sum()

    gradient = jax.jit(jax.grad(energy))(GENERAL)
    # Small enough for few points to cross a pixel's border, where the slope jumps.
    step = 1e-3
    for i, j in [(0, 0), (0, 1), (1, 0), (1, 2)]:
        shift = jnp.zeros((3, 3)).at[i, j].set(step)
        slope = (energy(GENERAL + shift) - energy(GENERAL - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i, j], slope, rtol=0.02, atol=0.05)


def test_a_picture_of_one_pixel_fills_everywhere():
    image = jnp.full((1, 1, 1), 0.5)
    for fill in FILL_MODES:
        moved = WARP(image, translation_matrix(0.25, 0.0), fill=fill, value=0.5)
        np.testing.assert_allclose(moved, image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(fill="mirror"), "fill='mirror' is unknown. Known: constant, nearest"),
        (dict(order=3), "order=3 must be 0"),
        (dict(value=float("inf")), "value=inf must be a finite number"),
    ],
)
def test_unknown_ways_of_resampling_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        warp(IMAGE, identity(), **options)
