"""Boxes drawn over pictures: what is true, what was found, whichever anchors one wants to see."""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cvjax.vis.grids import image_grid

_GOLDEN = 0.618034  # of a turn of the colour circle from one object to the next
TRUE_COLOR, FOUND_COLOR = (46, 204, 64), (255, 80, 40)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    *,
    captions: Sequence[str] | None = None,
    color: tuple[int, int, int] = TRUE_COLOR,
    scale: int = 1,
) -> np.ndarray:
    """uint8 [scale H, scale W, 3]: `image` magnified by a whole factor, an outline around each box.

    Image: [H, W, 1 or 3], uint8 or floats in [0, 1]. Boxes [N, 4]: xyxy in pixels of `image`,
    half-open; an outline is one pixel wide and lies inside its box. Boxes with an edge that is not
    finite and empty ones are left out.

    Raises:
        ValueError: if the captions are not one a box.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if captions is not None and len(captions) != len(boxes):
        raise ValueError(f"{len(captions)} captions for {len(boxes)} boxes.")
    pixels = image_grid(np.asarray(image)[None], min_cell=1, gap=0)[: image.shape[0]]
    canvas = Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=11)
    for i, box in enumerate(boxes):
        if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
            continue
        x1, y1, x2, y2 = np.rint(box * scale).astype(int).tolist()
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color)
        if captions is not None and captions[i]:
            draw.text((x1 + 2, y1 + 1), captions[i], fill=color, font=font)
    return np.asarray(canvas)


def draw_batch(
    batch: Mapping[str, Any],
    class_names: Sequence[str] = (),
    *,
    min_score: float = 0.3,
    scale: int = 2,
) -> np.ndarray:
    """A grid, uint8 [H, W, 3], of a batch's pictures with its valid boxes and classes.

    `boxes`, `box_label`, `box_valid` are drawn in green; `detected_boxes`, `detected_label`,
    `detected_score`, `detected_valid`, where there are any, in red from `min_score` on.
    """
    pictures = []
    for i, image in enumerate(np.asarray(batch["image"])):
        valid = np.asarray(batch["box_valid"][i], bool)
        names = _names(np.asarray(batch["box_label"][i])[valid], class_names)
        boxes = np.asarray(batch["boxes"][i])[valid]
        picture = draw_boxes(image, boxes, captions=names, scale=scale)
        if "detected_boxes" in batch:
            score = np.asarray(batch["detected_score"][i])
            shown = np.asarray(batch["detected_valid"][i], bool) & (score >= min_score)
            names = _names(np.asarray(batch["detected_label"][i])[shown], class_names)
            captions = [f"{name} {value:.2f}" for name, value in zip(names, score[shown])]
            found = np.asarray(batch["detected_boxes"][i])[shown] * scale
            picture = draw_boxes(picture, found, captions=captions, color=FOUND_COLOR)
        pictures.append(picture)
    return image_grid(np.stack(pictures), min_cell=1)


def draw_matches(
    image: np.ndarray,
    boxes: np.ndarray,
    anchors: np.ndarray,
    matches: np.ndarray,
    *,
    ignored: int | None = None,
    scale: int = 2,
) -> np.ndarray:
    """uint8 [scale H, scale W, 3]: each box of an object in a colour of its own, twice as thick as
    the anchors that stand for it, in the same colour.

    `matches` [A] are the indices into `boxes` [N, 4] that `cvjax.ops.matching` gives for `anchors`
    [A, 4]; negative ones are not drawn, but for `ignored`, which is grey. An object without an
    anchor shows its box alone.

    Raises:
        ValueError: if there is not one match an anchor, or one points behind the boxes.
    """
    boxes, anchors = (np.asarray(x, np.float64).reshape(-1, 4) for x in (boxes, anchors))
    matches = np.asarray(matches)
    if matches.shape != (len(anchors),) or matches.max(initial=-1) >= len(boxes):
        raise ValueError(
            f"matches of shape {matches.shape} and up to {matches.max(initial=-1)} do not fit "
            f"{len(anchors)} anchors and {len(boxes)} boxes."
        )
    drawn = draw_boxes(image, np.zeros((0, 4)), scale=scale)
    if ignored is not None:
        drawn = draw_boxes(drawn, anchors[matches == ignored] * scale, color=(128, 128, 128))
    for i, box in enumerate(boxes):
        color = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(i * _GOLDEN % 1, 1.0, 1.0))
        drawn = draw_boxes(drawn, anchors[matches == i] * scale, color=color)
        thick = np.stack([box * scale, box * scale + np.array([1, 1, -1, -1])])
        drawn = draw_boxes(drawn, thick, color=color)
    return drawn


def _names(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    return [class_names[k] if k < len(class_names) else str(k) for k in labels.tolist()]
