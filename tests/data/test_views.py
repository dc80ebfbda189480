"""Views show the region they say, upright, at the size asked for."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from cvjax.data.decode import Box
from cvjax.data.views import VIEWS, RandomResizedCrop, ResizeCenterCrop, make_view


def picture(height: int = 60, width: int = 90) -> np.ndarray:
    """A smooth colour image without symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    blue = 127 + 100 * np.sin(5 * x / width + 7 * y / height)
    return np.stack([255 * x / width, 255 * y / height, blue], -1).astype(np.uint8)


def jpeg(image: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=97, subsampling=0, **options)
    return file.getvalue()


class Script:
    """A generator that plays back uniform numbers."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def test_the_drawn_area_is_uniform_and_the_aspect_log_uniform():
    rng = np.random.default_rng(0)
    view = RandomResizedCrop(8, scale=(0.1, 0.3), ratio=(0.5, 2.0))
    boxes = np.array([view.box(1000, 1000, rng) for _ in range(4000)])  # every first try fits
    shares = boxes[:, 2] * boxes[:, 3] / 1e6
    aspects = np.log2(boxes[:, 3] / boxes[:, 2])
    # uniform on [a, b]: mean (a + b) / 2, deviation (b - a) / sqrt(12); 5 standard errors
    assert abs(shares.mean() - 0.2) < 5 * 0.2 / np.sqrt(12 * 4000)
    assert abs(shares.std() - 0.2 / np.sqrt(12)) < 0.003
    assert abs(aspects.mean()) < 5 * 2 / np.sqrt(12 * 4000)
    assert abs(aspects.std() - 2 / np.sqrt(12)) < 0.02
    assert shares.min() > 0.099
    assert shares.max() < 0.301


def test_the_drawn_place_is_uniform_over_all_that_fit():
    rng = np.random.default_rng(1)
    view = RandomResizedCrop(8, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    places = np.array([view.box(4, 5, rng)[:2] for _ in range(6000)])  # 2x2 boxes: 3 x 4 places
    counts = np.unique(places, axis=0, return_counts=True)[1]
    assert len(counts) == 12
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


def test_a_draw_that_does_not_fit_is_drawn_again():
    view = RandomResizedCrop(8, scale=(0.5, 1.0), ratio=(0.5, 2.0))
    # 100 x 100: the whole area at aspect 2 is 141 wide; then half the area at aspect 1 is 71 x 71
    rng = Script(1.0, 1.0, 0.0, 0.5, 0.999, 0.0)
    assert view.box(100, 100, rng) == Box(29, 0, 71, 71)
    assert not rng.numbers


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (10, 1000, Box(0, 493, 10, 13)),  # too wide: aspect 4/3, centred
        (1000, 10, Box(493, 0, 13, 10)),  # too high: aspect 3/4, centred
    ],
)
def test_an_extreme_image_falls_back_to_its_centre(height, width, expected):
    view = RandomResizedCrop(8, scale=(0.5, 1.0))
    assert view.box(height, width, np.random.default_rng(2)) == expected


def test_ten_failures_within_the_aspect_limits_fall_back_to_the_whole():
    view = RandomResizedCrop(8, scale=(0.9, 1.0), ratio=(0.5, 2.0))
    assert view.box(100, 100, Script(*[1.0, 1.0] * 10)) == Box(0, 0, 100, 100)


@pytest.mark.parametrize("encoded", [False, True])
def test_random_resized_crop_shows_the_box_it_drew(encoded):
    image = picture()
    view = RandomResizedCrop(16)
    for seed in range(5):
        top, left, height, width = view.box(60, 90, np.random.default_rng(seed))
        crop = Image.fromarray(image[top : top + height, left : left + width])
        expected = np.asarray(crop.resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
        shown = view(jpeg(image) if encoded else image, np.random.default_rng(seed))
        assert shown.shape == (16, 16, 3)
        assert shown.dtype == np.uint8
        np.testing.assert_allclose(shown, expected, atol=6 if encoded else 1)  # JPEG's own loss


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 61), (33, 33)])
@pytest.mark.parametrize("encoded", [False, True])
def test_resize_center_crop_is_resizing_and_then_cropping(height, width, encoded):
    image = picture(height, width)
    view = ResizeCenterCrop(28)  # torchvision: Resize(32), CenterCrop(28)
    long = int(32 * max(height, width) / min(height, width))
    columns, rows = (long, 32) if width >= height else (32, long)
    resized = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    top, left = round((rows - 28) / 2), round((columns - 28) / 2)
    expected = np.asarray(resized)[top : top + 28, left : left + 28].astype(int)
    shown = view(jpeg(image) if encoded else image, np.random.default_rng(0))
    np.testing.assert_allclose(shown, expected, atol=6 if encoded else 1)


def test_resize_shows_the_whole_image():
    image = picture()
    expected = np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR))
    shown = make_view("resize", 20)(image, np.random.default_rng(0))
    np.testing.assert_allclose(shown, expected.astype(int), atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", list(VIEWS))
@pytest.mark.parametrize("scale", [1, 4])
def test_views_of_a_rotated_jpeg_are_views_of_the_upright_image(orientation, name, scale):
    """`scale` 4 makes the decoder reduce while decoding."""
    stored = picture(60 * scale, 90 * scale)
    upright = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    view = make_view(name, 16)
    shown = view(jpeg(stored, exif=exif), np.random.default_rng(7))
    expected = view(np.ascontiguousarray(upright), np.random.default_rng(7))
    np.testing.assert_allclose(shown.astype(int), expected.astype(int), atol=6)


@pytest.mark.parametrize("name", list(VIEWS))
def test_every_view_takes_one_pixel_and_one_channel(name):
    view = make_view(name, 8, 1)
    for image in (np.full((1, 1, 3), 77, np.uint8), jpeg(np.full((1, 1, 3), 77, np.uint8))):
        shown = view(image, np.random.default_rng(0))
        assert shown.shape == (8, 8, 1)
        assert np.unique(shown).tolist() == [77]


@pytest.mark.parametrize("name", list(VIEWS))
def test_views_pickle(name):
    view = make_view(name, 8, max_pixels=1000)
    assert pickle.loads(pickle.dumps(view)) == view


def test_an_unknown_view_or_option_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'random_resized_crop'"):
        make_view("random_resize_crop", 8)
    with pytest.raises(ValueError, match="no option 'scales'; did you mean 'scale'"):
        make_view("random_resized_crop", 8, scales=(0.1, 1))
    with pytest.raises(ValueError, match="0 < low <= high"):
        make_view("random_resized_crop", 8, scale=(1.0, 0.1))
    with pytest.raises(ValueError, match="resize=7 is smaller than the crop of 8"):
        make_view("resize_center_crop", 8, resize=7)
