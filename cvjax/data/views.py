"""Host-side views: one encoded file or decoded array to uint8 [size, size, C].

A view is the only geometry that runs on the host, since batches need one size; everything else
random is done on the device. It reads no more pixels than it shows (`cvjax.data.decode`).
"""

import dataclasses
import difflib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cvjax.data.decode import MAX_PIXELS, Box, open_image

View = Callable[[bytes | np.ndarray, np.random.Generator], np.ndarray]


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random region, resized (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842).

    Drawn as torchvision does: area share uniform in `scale`, aspect (width / height) log-uniform
    in `ratio`, ten tries, then the largest centred box whose aspect is within `ratio`.
    """

    size: int
    channels: int = 3
    _: dataclasses.KW_ONLY
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"random_resized_crop: {name} must be 0 < low <= high, got "
                                 f"{(low, high)}.")  # fmt: skip

    def __call__(self, image: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        opened = open_image(image, channels=self.channels, max_pixels=self.max_pixels)
        return opened.resized(self.box(opened.height, opened.width, rng), self.size)

    def box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """The region drawn for an image of this size; whole pixels."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * rng.random())
            aspect = math.exp(low + (high - low) * rng.random())
            box_width = round(math.sqrt(area * aspect))
            box_height = round(math.sqrt(area / aspect))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = int(rng.random() * (height - box_height + 1))
                left = int(rng.random() * (width - box_width + 1))
                return Box(top, left, box_height, box_width)
        box_height, box_width = height, width
        if width / height < self.ratio[0]:
            box_height = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            box_width = round(height * self.ratio[1])
        return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


@dataclasses.dataclass(frozen=True)
class ResizeCenterCrop:
    """The shorter side resized to `resize`, then the centre `size` x `size`: the usual test view.

    `resize` defaults to size / 0.875, rounded (256 for 224). Rounding as in torchvision.
    """

    size: int
    channels: int = 3
    _: dataclasses.KW_ONLY
    resize: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(
                f"resize_center_crop: resize={self.resize} is smaller than the crop of {self.size}."
            )

    def __call__(self, image: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng  # the same for every view
        opened = open_image(image, channels=self.channels, max_pixels=self.max_pixels)
        # `context`: the resized image is cropped, so what is beside the crop has its weight
        return opened.resized(self.box(opened.height, opened.width), self.size, context=True)

    def box(self, height: int, width: int) -> Box:
        """The region of the original that ends up in the crop; fractions of pixels."""
        shorter = self.resize or round(self.size / 0.875)
        if height <= width:
            resized_height, resized_width = shorter, int(shorter * width / height)
        else:
            resized_height, resized_width = int(shorter * height / width), shorter
        rows, columns = height / resized_height, width / resized_width
        top = round((resized_height - self.size) / 2)
        left = round((resized_width - self.size) / 2)
        return Box(top * rows, left * columns, self.size * rows, self.size * columns)


@dataclasses.dataclass(frozen=True)
class Resize:
    """The whole image as a square; the aspect is not kept."""

    size: int
    channels: int = 3
    _: dataclasses.KW_ONLY
    max_pixels: int = MAX_PIXELS

    def __call__(self, image: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        opened = open_image(image, channels=self.channels, max_pixels=self.max_pixels)
        return opened.resized(Box(0, 0, opened.height, opened.width), self.size)


VIEWS: dict[str, type] = {
    "random_resized_crop": RandomResizedCrop,
    "resize_center_crop": ResizeCenterCrop,
    "resize": Resize,
}


def make_view(name: str, size: int, channels: int = 3, **options: Any) -> View:
    """The view of that name; it pickles.

    Raises:
        ValueError: if the name or an option is unknown; names the nearest valid one.
    """
    if name not in VIEWS:
        raise ValueError(f"Unknown view {name!r}{_nearest(name, VIEWS)}. Known: {list(VIEWS)}.")
    view = VIEWS[name]
    known = [field.name for field in dataclasses.fields(view) if field.kw_only]
    for option in options:
        if option not in known:
            raise ValueError(
                f"View {name!r} has no option {option!r}{_nearest(option, known)}. Known: {known}."
            )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return view(size, channels, **options)


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
