"""Images brought to one form: encoded bytes or arrays to upright uint8 [H, W, C], C = 1 or 3.

Conventions: EXIF orientation is applied; transparency is composited on white; 16-bit samples keep
their high byte; CMYK goes through Pillow's conversion; an animation is its first frame; the
content decides the format, never a file's name. Whatever the decoder calls damaged, a truncated
file above all, is a `BadExample`: training on half a picture would pass silently.

JPEG goes through libjpeg-turbo, scaled while decoding when less is needed. Of a crop, only the
region itself is decoded where the C part (_jpeg.c) was built at installation, the whole image
where not; the pixels are the same. Resizing is bilinear with support grown for reduction
(antialiased), by the C part, else by `cykooz-resizer`, else by Pillow; they agree within one grey
level. Measured side by side in benchmarks/input_pipeline.py.
"""

import dataclasses
import io
import math
import threading
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from cvjax.data.bad_examples import BadExample

try:
    from cvjax.data import _jpeg
except ImportError:  # no compiler or no libjpeg-turbo at installation
    _jpeg = None
try:
    import cykooz_resizer
except ImportError:  # no wheel for this platform
    cykooz_resizer = None

# A quarter of a GiB of RGB: Pillow's own threshold for a suspected decompression bomb.
MAX_PIXELS = 89_478_485
# Content that Pillow may open; everything else it knows is not meant to be in a data set.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "GIF")
_EXIF_ORIENTATION = 0x0112
_MAX_SCRATCH = 16 << 20  # bytes kept per thread
# Scratch memory: `scratch` for decoded pixels, `resizer` with its own (12% of a resize).
_per_thread = threading.local()


class Box(NamedTuple):
    """A region of an upright image in pixels; fractions are allowed."""

    top: float
    left: float
    height: float
    width: float


class Orientation(NamedTuple):
    """How stored pixels are shown: transposed first, then rows and columns reversed."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool


# EXIF 2.32, tag 0x0112: what the stored first row and first column are when shown.
ORIENTATIONS = {
    1: Orientation(False, False, False),  # top, left
    2: Orientation(False, False, True),  # top, right
    3: Orientation(False, True, True),  # bottom, right
    4: Orientation(False, True, False),  # bottom, left
    5: Orientation(True, False, False),  # left, top
    6: Orientation(True, False, True),  # right, top
    7: Orientation(True, True, True),  # right, bottom
    8: Orientation(True, True, False),  # left, bottom
}


def decode_image(data: bytes, *, channels: int = 3, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The whole image in `data`, upright, uint8 [H, W, channels].

    Raises:
        BadExample: if `data` is no complete image of a known format, or has over `max_pixels`.
    """
    return open_image(data, channels=channels, max_pixels=max_pixels).whole()


def open_image(
    data: bytes | np.ndarray, *, channels: int = 3, max_pixels: int = MAX_PIXELS
) -> "DecodedImage | JpegImage":
    """An image whose upright size is known and whose pixels are read by `whole` or `resized`.

    A JPEG is decoded only then; other formats, and arrays (uint8 [H, W, C]), are whole already.

    Raises:
        BadExample: as `decode_image`.
    """
    if isinstance(data, np.ndarray):
        return DecodedImage(set_channels(data, channels))
    if data[:3] == b"\xff\xd8\xff":
        jpeg = _open_jpeg(data, channels, max_pixels)
        if jpeg is not None:
            return jpeg
    return DecodedImage(_decode_with_pillow(data, channels, max_pixels))


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """An upright image in memory, uint8 [H, W, C]."""

    pixels: np.ndarray

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def whole(self) -> np.ndarray:
        return self.pixels

    def resized(self, box: Box, size: int, *, context: bool = False) -> np.ndarray:
        """The region `box` as uint8 [size, size, C].

        `context` lets pixels around the box take part at its border, as if the whole image had
        been resized and then cropped; without it the crop comes first.
        """
        return resize_box(self.pixels, box, (size, size), context=context)


@dataclasses.dataclass(frozen=True)
class JpegImage:
    """A JPEG with its header read and its pixels still encoded."""

    data: bytes
    stored_height: int
    stored_width: int
    orientation: Orientation
    channels: int

    @property
    def height(self) -> int:
        return self.stored_width if self.orientation.transpose else self.stored_height

    @property
    def width(self) -> int:
        return self.stored_height if self.orientation.transpose else self.stored_width

    def whole(self) -> np.ndarray:
        return np.ascontiguousarray(_shown(self._decode(1), self.orientation))

    def resized(self, box: Box, size: int, *, context: bool = False) -> np.ndarray:
        """As `DecodedImage.resized`, decoding at the smallest scale that covers `size`."""
        box = _stored_box(box, self.height, self.width, self.orientation)
        # 1/2, 1/4 and 1/8 only: libjpeg-turbo's other scales are slower than no scaling.
        factor = next(
            (f for f in (8, 4, 2) if min(box.height, box.width) >= f * size),
            1,
        )
        box = Box(*(value / factor for value in box))
        rows, columns = -(-self.stored_height // factor), -(-self.stored_width // factor)
        region = _region(box, rows, columns, (size, size), context=context)
        pixels = self._decode_region(region, factor)
        resized = _resize(pixels, _inside(box, region), (size, size))
        return np.ascontiguousarray(_shown(resized, self.orientation))

    def _decode_region(self, region: "_Region", factor: int) -> np.ndarray:
        """Stored pixels of a region of the image at 1/factor of its size, in scratch memory."""
        if _jpeg is None:
            rows, columns = -(-self.stored_height // factor), -(-self.stored_width // factor)
            pixels = self._decode(factor, _scratch(rows * columns * self.channels))
            return pixels[region.top : region.bottom, region.left : region.right]
        height, width = region.bottom - region.top, region.right - region.left
        out = _scratch(height * width * self.channels)[: height * width * self.channels]
        try:
            _jpeg.decode_region(
                self.data, factor, self.channels, region.top, region.left, height, width, out
            )
        except ValueError as error:
            raise BadExample(f"damaged JPEG: {error}") from error
        return out.reshape(height, width, self.channels)

    def _decode(self, factor: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Stored pixels at 1/factor of their size, rounded up."""
        try:
            return simplejpeg.decode_jpeg(
                self.data,
                colorspace="RGB" if self.channels == 3 else "GRAY",
                min_height=math.ceil(self.stored_height / factor),
                min_width=math.ceil(self.stored_width / factor),
                min_factor=factor,
                buffer=buffer,
            )
        except ValueError as error:
            raise BadExample(f"damaged JPEG: {error}") from error


def resize_box(
    image: np.ndarray, box: Box, size: tuple[int, int], *, context: bool = False
) -> np.ndarray:
    """The region `box` of uint8 [H, W, C] as uint8 [*size, C], antialiased bilinear.

    `context` as in `DecodedImage.resized`.
    """
    region = _region(box, *image.shape[:2], size, context=context)
    part = image[region.top : region.bottom, region.left : region.right]
    return _resize(part, _inside(box, region), size)


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, W, C] as [N, size, size, C], antialiased bilinear; the aspect is not kept."""
    height, width = images.shape[1:3]
    if (height, width) == (size, size):
        return images
    whole = Box(0, 0, height, width)
    resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for index, image in enumerate(images):
        resized[index] = resize_box(image, whole, (size, size))
    return resized


def set_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [..., C] with 1 or 3 channels as `channels`.

    Grey from RGB is Pillow's rule (ITU-R 601 luma in 16-bit fixed point); RGB from grey repeats.

    Raises:
        ValueError: for any other number of channels.
    """
    if images.shape[-1] not in (1, 3) or channels not in (1, 3):
        raise ValueError(
            f"Images have {images.shape[-1]} channels, wanted {channels}: 1 or 3 only."
        )
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    red, green, blue = (images[..., i].astype(np.uint32) for i in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.astype(np.uint8)[..., None]


def _open_jpeg(data: bytes, channels: int, max_pixels: int) -> JpegImage | None:
    """None where libjpeg-turbo's interface does not fit, so that Pillow has its try."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colorspace.upper() in ("CMYK", "YCCK"):  # whether inks are inverted, Pillow knows
        return None
    _check_size(height, width, max_pixels)
    return JpegImage(data, height, width, _jpeg_orientation(data), channels)


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise BadExample(
            f"{width}x{height} is {height * width:,} pixels, over the limit of {max_pixels:,} "
            "(max_pixels)"
        )


def _jpeg_orientation(data: bytes) -> Orientation:
    """From the APP1 segment that holds EXIF, if any; damaged EXIF counts as none."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:  # start of scan: no metadata behind it
            break
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\x00\x00":
            exif = Image.Exif()
            try:
                exif.load(data[position + 4 : position + 2 + length])
                return ORIENTATIONS.get(exif.get(_EXIF_ORIENTATION, 1), ORIENTATIONS[1])
            except Exception:  # Pillow raises a great variety on damaged EXIF
                return ORIENTATIONS[1]
        position += 2 + length
    return ORIENTATIONS[1]


def _decode_with_pillow(data: bytes, channels: int, max_pixels: int) -> np.ndarray:
    if not data:
        raise BadExample("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_size(picture.height, picture.width, max_pixels)
            picture.load()  # the first frame
            pixels = _eight_bit(picture)
            orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except (BadExample, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise BadExample(
            f"no complete image of a known format: it begins with {data[:8].hex(' ')}"
        ) from error
    except Image.DecompressionBombError as error:
        raise BadExample(f"too large for Pillow: {error}") from error
    except Exception as error:  # damaged files make Pillow raise a great variety
        raise BadExample(f"damaged image: {error}") from error
    pixels = _shown(pixels, ORIENTATIONS.get(orientation, ORIENTATIONS[1]))
    return np.ascontiguousarray(set_channels(pixels, channels))


def _eight_bit(picture: Image.Image) -> np.ndarray:
    """Stored pixels of a loaded picture as uint8 [H, W, 1 or 3], transparency on white."""
    transparent = picture.info.get("transparency")
    if picture.mode.startswith("I;16"):
        samples = np.asarray(picture).astype(np.uint16)
        if transparent is not None:
            samples = np.where(samples == transparent, 0xFFFF, samples)
        return (samples >> 8).astype(np.uint8)[..., None]
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or transparent is not None:
        grey = picture.mode in ("1", "L", "LA", "La")
        layered = picture.convert("RGBA")
        layers = np.asarray(layered).astype(np.uint16)
        colour, alpha = layers[..., :1] if grey else layers[..., :3], layers[..., 3:]
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[..., None]
    if picture.mode in ("P", "RGB", "CMYK", "YCbCr"):
        return np.asarray(picture.convert("RGB"))
    raise BadExample(f"pixels of mode {picture.mode} have no agreed range")


def _shown(pixels: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Stored pixels turned upright (a view)."""
    if orientation.transpose:
        pixels = pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation.flip_rows else 1)
    columns = slice(None, None, -1 if orientation.flip_columns else 1)
    return pixels[rows, columns]


def _stored_box(box: Box, height: int, width: int, orientation: Orientation) -> Box:
    """Where the upright `box` of an upright height x width image lies among the stored pixels."""
    top = height - box.top - box.height if orientation.flip_rows else box.top
    left = width - box.left - box.width if orientation.flip_columns else box.left
    if orientation.transpose:
        return Box(left, top, box.width, box.height)
    return Box(top, left, box.height, box.width)


class _Region(NamedTuple):
    """Whole pixels; the ends are outside."""

    top: int
    left: int
    bottom: int
    right: int


def _region(box: Box, height: int, width: int, size: tuple[int, int], *, context: bool) -> _Region:
    """The pixels of a height x width image that resizing `box` reads."""
    # Bilinear weights reach one output pixel far, which is this many input pixels.
    rows = math.ceil(box.height / size[0]) + 1 if context else 0
    columns = math.ceil(box.width / size[1]) + 1 if context else 0
    return _Region(
        max(0, math.floor(box.top) - rows),
        max(0, math.floor(box.left) - columns),
        min(height, math.ceil(box.top + box.height) + rows),
        min(width, math.ceil(box.left + box.width) + columns),
    )


def _inside(box: Box, region: _Region) -> Box:
    """`box` as seen from `region`, and no larger: scaled decoding rounds sizes up."""
    top, left = box.top - region.top, box.left - region.left
    return Box(
        top,
        left,
        min(box.height, region.bottom - region.top - top),
        min(box.width, region.right - region.left - left),
    )


def _scratch(needed: int) -> np.ndarray:
    """At least `needed` bytes for pixels that are resized at once, kept for this thread's next.

    Fresh memory for each image is returned to the system each time; its page faults then cost a
    quarter of decoding and resizing. Large images are rare, and not worth keeping it for.
    """
    if needed > _MAX_SCRATCH:
        return np.empty(needed, np.uint8)
    if not hasattr(_per_thread, "scratch") or len(_per_thread.scratch) < needed:
        _per_thread.scratch = np.empty(needed, np.uint8)
    return _per_thread.scratch


def _resize(image: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """`box` of `image`, with what is around it, as a new array."""
    if image.shape[:2] == tuple(size) and box == (0, 0, *size):
        return image.copy()
    if _jpeg is not None:
        resized = np.empty((*size, image.shape[-1]), np.uint8)
        _jpeg.resize(image, box, *size, resized)
        return resized
    if cykooz_resizer is not None:
        return _resize_with_simd(image, box, size)
    return _resize_with_pillow(image, box, size)


def _resize_with_pillow(image: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=corners)
    return np.array(picture).reshape(*size, -1)


def _resize_with_simd(image: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    if not hasattr(_per_thread, "resizer"):
        _per_thread.resizer = cykooz_resizer.Resizer()
    height, width, channels = image.shape
    pixel_type = cykooz_resizer.PixelType.U8 if channels == 1 else cykooz_resizer.PixelType.U8x3
    pixels = cykooz_resizer.ImageData(width, height, pixel_type, image.tobytes())
    resized = cykooz_resizer.ImageData(size[1], size[0], pixel_type)
    options = cykooz_resizer.ResizeOptions(
        resize_alg=cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear),
        use_alpha=False,
        crop_box=cykooz_resizer.CropBox(box.left, box.top, box.width, box.height),
    )
    _per_thread.resizer.resize(pixels, resized, options)
    return np.frombuffer(resized.get_buffer(), np.uint8).reshape(*size, channels)
