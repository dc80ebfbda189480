"""Crops at fixed places, against Pillow's."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from cvjax.ops.crops import five_crop, ten_crop


def test_ten_crops_are_pillows_in_torchvisions_order():
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    found = np.asarray(ten_crop(jnp.asarray(image), (5, 8)))
    windows = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]  # left, top; both margins are 4
    expected = [
        np.asarray(picture.crop((left, top, left + 8, top + 5)))
        for picture in (Image.fromarray(image), ImageOps.mirror(Image.fromarray(image)))
        for left, top in windows
    ]
    np.testing.assert_array_equal(found, expected)


def test_an_odd_margin_is_rounded_half_to_even_and_batches_keep_their_axes():
    images = jnp.arange(2 * 8 * 8).reshape(2, 8, 8, 1)
    for size, start in ((7, 0), (5, 2), (3, 2)):  # 0.5 -> 0, 1.5 -> 2, 2.5 -> 2
        middle = np.asarray(five_crop(images, (size, size)))[4]
        end = start + size
        np.testing.assert_array_equal(middle, images[:, start:end, start:end])


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="9x4 pixels do not fit into images of 8x8"):
        five_crop(jnp.zeros((8, 8, 1)), (9, 4))
