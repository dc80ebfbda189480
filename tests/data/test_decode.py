"""Every kind of file a data set holds: legal ones decode right, the others say what is wrong."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from cvjax.data import decode
from cvjax.data.bad_examples import BadExample, SkipLog
from cvjax.data.decode import Box, decode_image, open_image, resize_box, set_channels


def photo(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth colour image, so that JPEG's loss is small; no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / (width - 1)
    green = 255 * y / (height - 1)
    blue = 127 + 100 * np.sin(x / 9 + y / 5)
    return np.stack([red, green, blue], -1).round().astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(samples: np.ndarray, bits: int, colour_type: int, declared: tuple = ()) -> bytes:
    """A PNG written by hand: Pillow writes no 16-bit colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = samples.shape[:2]
    width, height = declared or (width, height)
    rows = samples.astype(">u2" if bits == 16 else np.uint8).reshape(len(samples), -1)
    body = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


LOSSLESS = [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_decode_to_the_pixels_that_were_saved(kind, options):
    image = photo()
    np.testing.assert_array_equal(
        decode_image(saved(Image.fromarray(image), kind, **options)), image
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_decodes_as_pillow_decodes_it(options):
    data = saved(Image.fromarray(photo(51, 67)), "JPEG", quality=85, **options)
    np.testing.assert_array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data))))


def test_cmyk_jpeg_shows_the_colours_its_inks_make():
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:] = (0, 100, 200, 40)
    data = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    expected = (255 - inks[0, 0, :3].astype(float)) * (255 - 40) / 255
    np.testing.assert_allclose(decode_image(data)[8, 8], expected, atol=3)  # JPEG's own loss


def test_sixteen_bit_grey_keeps_its_high_byte():
    samples = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    expected = np.array([[0, 0, 1], [128, 255, 255]], np.uint8)[..., None]
    for data in (png(samples, 16, 0), saved(Image.fromarray(samples), "PNG")):
        np.testing.assert_array_equal(decode_image(data, channels=1), expected)


def test_sixteen_bit_colour_keeps_its_high_byte():
    samples = np.random.default_rng(0).integers(0, 65536, (3, 5, 3))
    np.testing.assert_array_equal(decode_image(png(samples, 16, 2)), samples // 256)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
def test_grey_files_give_equal_channels(kind):
    grey = photo()[..., 1]
    data = saved(Image.fromarray(grey), kind, **({"quality": 100} if kind == "JPEG" else {}))
    colour = decode_image(data, channels=3)
    assert colour.shape == (*grey.shape, 3)
    np.testing.assert_array_equal(colour, decode_image(data, channels=1).repeat(3, -1))
    np.testing.assert_allclose(colour[..., 0].astype(int), grey, atol=2 if kind == "JPEG" else 0)


def test_one_channel_of_a_colour_jpeg_is_its_luma():
    image = photo()
    grey = decode_image(saved(Image.fromarray(image), "JPEG", quality=100), channels=1)
    expected = image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey[..., 0].astype(float), expected, atol=3)  # JPEG's own loss


def test_transparency_is_composited_on_white():
    rng = np.random.default_rng(1)
    layers = rng.integers(0, 256, (6, 7, 4)).astype(np.uint8)
    layers[0, 0] = (9, 9, 9, 0)
    alpha = layers[..., 3:].astype(float) / 255
    expected = layers[..., :3] * alpha + 255 * (1 - alpha)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        decoded = decode_image(saved(Image.fromarray(layers, "RGBA"), kind, **options))
        np.testing.assert_allclose(decoded.astype(float), expected, atol=0.5)
    assert decoded[0, 0].tolist() == [255, 255, 255]


def test_grey_with_transparency_is_composited_on_white():
    layers = np.array([[[10, 0], [10, 255], [0, 51]]], np.uint8)
    decoded = decode_image(saved(Image.fromarray(layers, "LA"), "PNG"), channels=1)
    assert decoded[0, :, 0].tolist() == [255, 10, 204]


def test_a_transparent_palette_colour_is_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 0, 0, 0, 200, 0])
    picture.putdata([0, 1])
    decoded = decode_image(saved(picture, "PNG", transparency=1))
    assert decoded[0].tolist() == [[200, 0, 0], [255, 255, 255]]


def test_a_palette_decodes_to_its_colours():
    picture = Image.fromarray(photo()).quantize(16)
    for kind in ("PNG", "BMP", "GIF"):
        np.testing.assert_array_equal(
            decode_image(saved(picture, kind)), np.asarray(picture.convert("RGB"))
        )


def test_one_bit_images_are_black_and_white():
    picture = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    assert decode_image(saved(picture, "PNG"), channels=1)[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), *LOSSLESS[::2]])
def test_exif_orientation_is_applied_as_pillow_applies_it(orientation, kind, options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(photo()), kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), expected)


def test_each_orientation_puts_the_stored_corner_where_exif_says():
    # EXIF's own table: where the stored first row and first column are when shown
    corners = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    corners |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    image = np.zeros((4, 6, 3), np.uint8)
    image[0, 0] = 255
    for orientation, corner in corners.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        shown = decode_image(saved(Image.fromarray(image), "PNG", exif=exif))
        assert shown.shape[:2] == ((4, 6) if orientation < 5 else (6, 4))
        assert shown[corner].tolist() == [255, 255, 255]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_counts_as_none():
    image = Image.fromarray(photo())
    data = saved(image, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    np.testing.assert_array_equal(decode_image(data), decode_image(saved(image, "JPEG")))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_its_first_frame(kind):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.unique(decode_image(data).reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 100}), *LOSSLESS])
def test_a_single_pixel_decodes(kind, options):
    decoded = decode_image(saved(Image.new("RGB", (1, 1), (250, 128, 4)), kind, **options))
    np.testing.assert_allclose(
        decoded.astype(int), [[[250, 128, 4]]], atol=2 if kind == "JPEG" else 0
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02])
def test_a_truncated_file_is_a_bad_example(kind, kept):
    data = saved(Image.fromarray(photo()), kind)
    with pytest.raises(BadExample):
        decode_image(data[: int(len(data) * kept)])


def test_a_jpeg_without_its_last_bytes_is_named_as_damaged():
    data = saved(Image.fromarray(photo()), "JPEG")
    with pytest.raises(BadExample, match="damaged JPEG: Premature end"):
        decode_image(data[:-2])


def test_an_empty_file_is_named_as_such():
    with pytest.raises(BadExample, match="empty file"):
        decode_image(b"")


def test_a_file_that_is_no_image_shows_how_it_begins():
    with pytest.raises(BadExample, match="known format: it begins with 3c 68 74 6d 6c"):
        decode_image(b"<html>not found</html>")


def test_damage_inside_a_png_is_a_bad_example():
    data = bytearray(saved(Image.fromarray(photo()), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadExample, match="damaged image"):
        decode_image(bytes(data))


def test_huge_images_are_refused_before_they_are_decoded():
    pixel = np.zeros((1, 1), np.uint8)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(BadExample, match="12000x9000 is 108,000,000 pixels, over the limit"),
    ):
        decode_image(png(pixel, 8, 0, declared=(12_000, 9_000)))
    with pytest.raises(BadExample, match="too large for Pillow"):
        decode_image(png(pixel, 8, 0, declared=(60_000, 60_000)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_pixel_limit_is_an_option(kind):
    data = saved(Image.fromarray(photo(8, 10)), kind)
    assert decode_image(data, max_pixels=80).shape == (8, 10, 3)
    with pytest.raises(BadExample, match=r"10x8 is 80 pixels, over the limit of 79"):
        decode_image(data, max_pixels=79)


def test_grey_from_colour_is_pillows_rule():
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).convert("L"))
    np.testing.assert_array_equal(set_channels(image, 1)[..., 0], expected)


def triangle_resize(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Antialiased bilinear over the whole image, the textbook sum in float64."""

    def weights(length: int, start: float, extent: float) -> np.ndarray:
        scale = extent / size
        reach = max(scale, 1.0)
        centres = start + (np.arange(size) + 0.5) * scale
        distance = np.abs(np.arange(length)[None] + 0.5 - centres[:, None])
        table = np.maximum(0, 1 - distance / reach)
        return table / table.sum(1, keepdims=True)

    rows = weights(image.shape[0], box.top, box.height)
    columns = weights(image.shape[1], box.left, box.width)
    return np.einsum("ih,jw,hwc->ijc", rows, columns, image.astype(float), optimize=True)


BOXES = [Box(0, 0, 48, 64), Box(5, 7, 31, 23), Box(1.5, 2.25, 30.25, 41.5), Box(3, 4, 6, 5)]


@pytest.fixture(params=["c part", "packages", "pillow"])
def means(request, monkeypatch):
    """Decoding and resizing by each of the means that an installation may have."""
    if request.param == "c part" and decode._jpeg is None:
        pytest.skip("the C part was not built")
    if request.param != "c part":
        monkeypatch.setattr(decode, "_jpeg", None)
    if request.param == "packages" and decode.cykooz_resizer is None:
        pytest.skip("no cykooz_resizer for this platform")
    if request.param == "pillow":
        monkeypatch.setattr(decode, "cykooz_resizer", None)
    return request.param


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_with_context_is_the_textbook_sum(means, box, channels):
    image = np.random.default_rng(3).integers(0, 256, (48, 64, channels)).astype(np.uint8)
    resized = resize_box(image, box, (16, 16), context=True)
    # one rounding to whole levels in the C part; two and fixed-point weights in the others
    atol = 0.501 if means == "c part" else 1.6
    np.testing.assert_allclose(resized, triangle_resize(image, box, 16), atol=atol)


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"restart_marker_rows": 1}],
)
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_a_region_of_a_jpeg_is_bit_identical_to_the_whole(means, options, factor):
    rng = np.random.default_rng(4)
    image = np.asarray(Image.fromarray(photo(90, 110)).resize((165, 141)))
    data = saved(Image.fromarray(image), "JPEG", quality=90, **options)
    for channels in (1, 3):
        jpeg = open_image(data, channels=channels)
        whole = jpeg._decode(factor)
        for _ in range(10):
            top, left = (int(rng.integers(0, side)) for side in whole.shape[:2])
            bottom = int(rng.integers(top + 1, whole.shape[0] + 1))
            right = int(rng.integers(left + 1, whole.shape[1] + 1))
            region = decode._Region(top, left, bottom, right)
            np.testing.assert_array_equal(
                jpeg._decode_region(region, factor), whole[top:bottom, left:right]
            )


@pytest.mark.parametrize("kept", [0.98, 0.6, 0.1])
def test_a_truncated_jpeg_is_bad_whatever_part_of_it_is_asked_for(means, kept):
    data = saved(Image.fromarray(photo(200, 200)), "JPEG")
    for box in (Box(0, 0, 9, 9), Box(100, 100, 100, 100)):
        open_image(data + b"appended").resized(box, 8)
        with pytest.raises(BadExample):
            open_image(data[: int(len(data) * kept)]).resized(box, 8)


def test_resize_without_context_reads_nothing_outside_the_box(means):
    image = np.zeros((40, 40, 1), np.uint8)
    image[10:30, 10:30] = 100
    resized = resize_box(image, Box(10, 10, 20, 20), (8, 8))
    assert np.unique(resized).tolist() == [100]


def test_a_box_of_the_wanted_size_is_copied_exactly(means):
    image = photo()
    crop = resize_box(image, Box(3, 5, 20, 20), (20, 20))
    np.testing.assert_array_equal(crop, image[3:23, 5:25])
    assert not np.shares_memory(crop, image)


@pytest.mark.parametrize(("side", "factor"), [(63, 1), (64, 2), (150, 4), (600, 8)])
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_covers_the_crop(
    means, side, factor, monkeypatch
):
    data = saved(Image.fromarray(photo(600, 640)), "JPEG", quality=95)
    factors = []
    original = decode.JpegImage._decode_region

    def recording(jpeg, region, factor):
        factors.append(factor)
        return original(jpeg, region, factor)

    monkeypatch.setattr(decode.JpegImage, "_decode_region", recording)
    box = Box(0, 0, side, side)
    resized = open_image(data).resized(box, 32)
    assert factors == [factor]
    exact = triangle_resize(photo(600, 640)[:side, :side], box, 32)
    assert np.abs(resized - exact).mean() < 1.5  # a smooth image: JPEG's loss and roundings


def test_a_second_image_leaves_the_first_one_alone(means):
    """Decoding scratch memory is shared between calls; results must not be."""
    first = saved(Image.fromarray(photo(32, 32)), "JPEG")
    second = saved(Image.new("RGB", (32, 32)), "JPEG")
    kept = open_image(first).resized(Box(0, 0, 32, 32), 32)
    before = kept.copy()
    open_image(second).resized(Box(0, 0, 32, 32), 32)
    np.testing.assert_array_equal(kept, before)


def test_a_bad_example_keeps_its_reason_across_processes():
    error = pickle.loads(pickle.dumps(BadExample("empty file").at("a/b.jpg")))
    assert (error.reason, error.example) == ("empty file", "a/b.jpg")
    assert str(error) == "a/b.jpg: empty file"


def test_the_skip_log_names_each_example_once_also_across_restarts(tmp_path):
    path = tmp_path / "skipped.jsonl"
    log = SkipLog(path)
    assert log.record("a.jpg", "empty file")
    assert not log.record("a.jpg", "empty file")
    assert log.record("odd\nname.jpg", "truncated")
    assert (log.skips, log.examples) == (3, 2)
    with path.open("a") as file:
        file.write('{"example": "cut of')  # killed while writing
    restarted = SkipLog(path)
    assert not restarted.record("odd\nname.jpg", "truncated")
    assert restarted.record("b.jpg", "empty file")
    assert restarted.reasons == {
        "a.jpg": "empty file",
        "odd\nname.jpg": "truncated",
        "b.jpg": "empty file",
    }
    assert SkipLog(path).examples == 3


def test_a_log_that_cannot_be_written_warns_and_goes_on(tmp_path):
    log = SkipLog(tmp_path / "missing" / "skipped.jsonl")
    with pytest.warns(UserWarning, match="no longer logged"):
        assert log.record("a.jpg", "empty file")
    assert log.record("b.jpg", "empty file")
    assert log.examples == 2
