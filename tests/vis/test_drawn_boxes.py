"""Drawn boxes, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from cvjax.train.workdir import write_pictures
from cvjax.vis.boxes import (
    FOUND_COLOR,
    TRUE_COLOR,
    draw_batch,
    draw_boxes,
    draw_matches,
)

GREY = np.full((12, 14, 3), 100, np.uint8)


def test_an_outline_is_the_border_of_the_half_open_box():
    drawn = draw_boxes(GREY, np.array([[2, 3, 9, 8], [np.nan, 0, 5, 5], [6, 6, 6, 9]]))
    expected = GREY.copy()
    for y in range(3, 8):
        for x in range(2, 9):
            if y in (3, 7) or x in (2, 8):
                expected[y, x] = TRUE_COLOR
    np.testing.assert_array_equal(drawn, expected)


def test_captions_must_match_the_boxes():
    with pytest.raises(ValueError, match="1 captions for 2 boxes"):
        draw_boxes(GREY, np.zeros((2, 4)), captions=["one"])


def test_a_batch_shows_valid_boxes_and_confident_detections_alone():
    box = np.array([[1.0, 1, 11, 11]])
    batch = {
        "image": np.stack([GREY, GREY, GREY]),
        "boxes": np.stack([box] * 3), "box_label": np.zeros((3, 1), int),
        "box_valid": np.array([[True], [False], [False]]),
        "detected_boxes": np.stack([box] * 3), "detected_label": np.zeros((3, 1), int),
        "detected_score": np.array([[0.1], [0.9], [0.9]]),
        "detected_valid": np.array([[True], [True], [False]]),
    }  # fmt: skip
    grid = draw_batch(batch, ("a",), scale=1)
    green = (grid == TRUE_COLOR).all(axis=-1)
    red = (grid == FOUND_COLOR).all(axis=-1)
    width = grid.shape[1] // 2
    top = grid.shape[0] // 2
    assert green[:top, :width].any()
    assert red[:top, width:].any()
    green[:top, :width], red[:top, width:] = False, False
    assert not green.any()
    assert not red.any()


def test_a_runs_pictures_are_drawn_with_their_boxes_where_they_have_some(tmp_path):
    batch = {
        "image": GREY[None], "boxes": np.array([[[1.0, 1, 11, 11]]]),
        "box_label": np.zeros((1, 1), int), "box_valid": np.ones((1, 1), bool),
    }  # fmt: skip
    returned = write_pictures(tmp_path, "seen", batch, ("a",))
    written = np.asarray(Image.open(tmp_path / "samples" / "seen.png"))
    np.testing.assert_array_equal(returned, written)
    np.testing.assert_array_equal(written, draw_batch(batch, ("a",), scale=2))
    assert (written == TRUE_COLOR).all(axis=-1).any()
    plain = write_pictures(tmp_path, "plain", {"image": GREY[None]}, ())
    assert not (plain == TRUE_COLOR).all(axis=-1).any()


def test_anchors_have_the_colour_of_their_object_and_the_others_are_not_drawn():
    boxes = np.array([[1, 1, 5, 5], [7, 1, 13, 11]])
    anchors = np.array([[0, 6, 4, 10], [8, 2, 12, 10], [5, 5, 7, 7], [0, 0, 1, 1]])
    drawn = draw_matches(GREY, boxes, anchors, np.array([0, 1, -2, -1]), ignored=-2, scale=1)
    first, second = drawn[1, 1], drawn[1, 7]
    assert (first != second).any()
    np.testing.assert_array_equal(drawn[[2, 6, 9], [2, 0, 3]], [first] * 3)  # thick; its anchor
    np.testing.assert_array_equal(drawn[[2, 9], [8, 11]], [second] * 2)
    np.testing.assert_array_equal(drawn[5, 5], [128] * 3)
    np.testing.assert_array_equal(drawn[0, 0], GREY[0, 0])  # background
    with pytest.raises(ValueError, match="do not fit 4 anchors and 1 boxes"):
        draw_matches(GREY, boxes[:1], anchors, np.array([0, 1, -2, -1]))
