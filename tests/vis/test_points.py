"""Points as a picture: each where it belongs, none hidden."""

import numpy as np
import pytest

from cvjax.vis.points import PALETTE, UNLABELLED, points_picture


def test_a_point_is_drawn_at_its_place_with_y_upwards():
    picture = points_picture([[0.25, 0.75]], side=101)
    assert tuple(picture[25, 25]) == PALETTE[0]
    drawn = (picture[1:-1, 1:-1] != 255).any(axis=-1)
    assert drawn.sum() == 9


def test_labels_choose_colours_and_later_points_cover_earlier_ones():
    points = [[0.5, 0.5], [0.5, 0.5], [0.1, 0.1], [0.9, 0.9]]
    picture = points_picture(points, [0, 3, -1, 10], side=101)
    assert tuple(picture[50, 50]) == PALETTE[3]
    assert tuple(picture[90, 10]) == UNLABELLED
    assert tuple(picture[10, 90]) == PALETTE[0]  # after ten the colours start again


def test_points_outside_are_at_the_edge_and_no_number_is_nowhere():
    picture = points_picture([[7.0, 0.5], [np.nan, 0.5]], side=101)
    assert tuple(picture[50, 98]) == PALETTE[0]
    assert (picture[1:-1, 1:-1] != 255).any(axis=-1).sum() == 6  # the edge covers a column of it


@pytest.mark.parametrize("points", [np.zeros((3, 3)), np.zeros(4)])
def test_other_shapes_are_refused(points):
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        points_picture(points)
    with pytest.raises(ValueError, match="labels for"):
        points_picture(np.zeros((2, 2)), [1])
