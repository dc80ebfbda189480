"""PSNR and SSIM against scikit-image's, of a stored call."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.metrics.image_quality import psnr, ssim

# Written by scikit-image 0.26 in double precision: a smooth picture with a little noise, noise with
# more, noise with much.
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "skimage_image_quality.npz")


@pytest.mark.parametrize(("name", "measure"), [("psnr", psnr), ("ssim", ssim)])
def test_figures_are_those_of_scikit_image(name, measure):
    found = measure(jnp.asarray(GOLDEN["image"]), jnp.asarray(GOLDEN["target"]))
    assert np.ptp(GOLDEN[name]) > 0.2
    np.testing.assert_allclose(found, GOLDEN[name], rtol=2e-5)


def test_equal_pictures_have_a_similarity_of_one_and_no_noise():
    image = jnp.asarray(GOLDEN["target"])
    np.testing.assert_allclose(ssim(image, image), 1, rtol=1e-6)
    assert np.isposinf(psnr(image, image)).all()


def test_pictures_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="10x40 pixels; its window needs 11"):
        ssim(jnp.zeros((1, 10, 40, 1)), jnp.zeros((1, 10, 40, 1)))
