"""Enlarging on the device: Pillow's, repetition, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cvjax.image.upsample import upsample

IMAGE = jnp.asarray(np.random.default_rng(0).random((6, 6, 1)), jnp.float32)


def test_nearest_repeats_pixels():
    found = upsample(jnp.stack([IMAGE, IMAGE[::-1]]), size=18, method="nearest")
    np.testing.assert_array_equal(found[0], IMAGE.repeat(3, axis=0).repeat(3, axis=1))
    np.testing.assert_array_equal(found[1], found[0][::-1])


@pytest.mark.parametrize(
    ("method", "theirs"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
def test_interpolation_is_pillows(method, theirs):
    expected = np.asarray(Image.fromarray(np.asarray(IMAGE[..., 0])).resize((15, 15), theirs))
    np.testing.assert_allclose(upsample(IMAGE, size=15, method=method)[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 5}, "less than the images' 6x6"), ({"size": 12, "method": "cubic"}, "one of")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        upsample(IMAGE, **options)
