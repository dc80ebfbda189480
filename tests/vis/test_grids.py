import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cvjax.vis.grids import image_grid, save_grid

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def test_every_picture_is_found_at_its_place():
    grid = image_grid(PICTURES, columns=2, min_cell=1, gap=3, background=255)
    assert grid.shape == (3 * (4 + 3) + 3, 2 * (6 + 3) + 3, 3)
    for i, picture in enumerate(PICTURES):
        top, left = 3 + (i // 2) * 7, 3 + (i % 2) * 9
        np.testing.assert_array_equal(grid[top : top + 4, left : left + 6], picture)
    assert (grid[:3] == 255).all()


def test_small_pictures_are_magnified_by_sharp_squares():
    grid = image_grid(PICTURES[:1], min_cell=16, gap=0)
    np.testing.assert_array_equal(grid, PICTURES[0].repeat(3, axis=0).repeat(3, axis=1))


def test_floats_in_zero_to_one_equal_their_bytes():
    floats = jnp.asarray(PICTURES, jnp.float32) / 255
    np.testing.assert_array_equal(image_grid(floats), image_grid(PICTURES))
    assert image_grid(floats.astype(jnp.bfloat16)).shape == image_grid(PICTURES).shape


def test_values_outside_are_clipped_and_nan_shows_as_magenta():
    picture = np.array([[[[-1.0], [2.0], [np.nan], [0.5]]]], np.float32)
    grid = image_grid(picture, min_cell=1, gap=0)
    np.testing.assert_array_equal(grid[0], [[0] * 3, [255] * 3, [255, 0, 255], [128] * 3])


def test_grey_pictures_need_no_channel_axis():
    grey = PICTURES[..., 0]
    np.testing.assert_array_equal(image_grid(grey), image_grid(grey[..., None]))


def test_captions_add_lines_below_the_pictures():
    plain = image_grid(PICTURES, columns=5)
    short = image_grid(PICTURES, columns=5, captions=["cat"] * 5)
    long = image_grid(PICTURES, columns=5, captions=["cat"] * 4 + ["a very long caption " * 3])
    assert plain.shape[0] < short.shape[0] < long.shape[0]
    np.testing.assert_array_equal(short[: 4 + 4 * 19], plain[: 4 + 4 * 19])
    assert (short[4 + 4 * 19 :] < 128).any()


def test_the_grid_is_about_square_by_default():
    height, width, _ = image_grid(np.zeros((9, 8, 8, 1), np.uint8)).shape
    assert height == width


def test_save_grid_writes_a_png_of_the_same_pixels(tmp_path):
    path = save_grid(tmp_path / "new" / "grid.png", PICTURES, captions=list("abcde"))
    with Image.open(path) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(image, image_grid(PICTURES, captions=list("abcde")))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 4, 4, 2)), {}, "C = 1 or 3"),
        (np.zeros((0, 4, 4, 3)), {}, r"got shape \(0, 4, 4, 3\)"),
        (np.zeros((2, 4, 4, 3), np.int32), {}, "uint8 or floats in .0, 1., got int32"),
        (PICTURES, dict(captions=["one"]), "1 captions for 5 images"),
        (PICTURES, dict(columns=0), "columns=0 must be at least 1"),
    ],
)
def test_what_is_no_picture_is_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        image_grid(images, **options)
