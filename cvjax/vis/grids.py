"""Many small pictures as one: the grid that shows what training sees."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONT_SIZE = 12


def save_grid(
    path: str | os.PathLike,
    images: Any,
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    min_cell: int = 112,
    gap: int = 4,
    background: int = 255,
) -> Path:
    """Writes `image_grid` of the same arguments to `path` as a PNG and returns the path."""
    path = Path(path)
    grid = image_grid(
        images,
        captions=captions,
        columns=columns,
        min_cell=min_cell,
        gap=gap,
        background=background,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path, format="PNG")
    return path


def image_grid(
    images: Any,
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    min_cell: int = 112,
    gap: int = 4,
    background: int = 255,
) -> np.ndarray:
    """Uint8 [H,W,3]: `images`, row by row, each above its caption.

    Images: any array [N,H,W,C] with C = 1 or 3, or [N,H,W]; uint8, or floats of which [0, 1] is
    shown and the rest clipped (a NaN shows as magenta, so that it cannot hide). An image
    narrower than `min_cell` pixels is magnified by a whole factor, each pixel a sharp square.
    Captions are wrapped to their cell. `columns` defaults to about as many columns as rows.

    Raises:
        ValueError: for a shape or dtype that is no picture, or captions that do not match.
    """
    pictures = _to_uint8_rgb(np.asarray(images))
    count, height, width, _ = pictures.shape
    if captions is not None and len(captions) != count:
        raise ValueError(f"{len(captions)} captions for {count} images.")
    if columns is not None and columns < 1:
        raise ValueError(f"columns={columns} must be at least 1.")
    columns = min(count, columns or int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)

    factor = max(1, -(-min_cell // max(1, width)))
    pictures = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor, width * factor

    font = ImageFont.load_default(size=_FONT_SIZE)
    wrapped = [_wrap(caption, font, width) for caption in captions or [""] * count]
    lines = max(text.count("\n") + 1 if text else 0 for text in wrapped)
    line_height = _FONT_SIZE + 4
    cell_height = height + lines * line_height

    canvas = Image.new(
        "RGB",
        (columns * (width + gap) + gap, rows * (cell_height + gap) + gap),
        (background,) * 3,
    )
    draw = ImageDraw.Draw(canvas)
    ink = (0, 0, 0) if background > 127 else (255, 255, 255)
    for i, (picture, text) in enumerate(zip(pictures, wrapped)):
        left = gap + (i % columns) * (width + gap)
        top = gap + (i // columns) * (cell_height + gap)
        canvas.paste(Image.fromarray(picture), (left, top))
        for line_number, line in enumerate(text.split("\n")):
            draw.text((left, top + height + line_number * line_height), line, ink, font=font)
    return np.asarray(canvas)


def _to_uint8_rgb(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"A grid shows images [N,H,W,C] with C = 1 or 3 (or [N,H,W]), got shape {images.shape}."
        )
    images = np.broadcast_to(images, (*images.shape[:-1], 3))
    if images.dtype == np.uint8:
        return images
    # kind "V" is where NumPy files bfloat16
    if images.dtype.kind not in "fV":
        raise ValueError(f"A grid shows uint8 or floats in [0, 1], got {images.dtype}.")
    images = images.astype(np.float32)
    missing = np.isnan(images).any(axis=-1)
    shown = np.rint(np.clip(np.nan_to_num(images), 0, 1) * 255).astype(np.uint8)
    shown[missing] = (255, 0, 255)
    return shown


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`text` broken into lines that fit `width` pixels; a longer word is cut."""
    per_line = len(text)
    while per_line > 1 and any(
        font.getlength(line) > width for line in textwrap.wrap(text, per_line)
    ):
        per_line -= 1
    return "\n".join(textwrap.wrap(text, max(1, per_line)))
