"""Pictures in windows: every pixel is seen, boxes are cut, slivers are ignored."""

import json

import numpy as np
import pytest
from PIL import Image

from cvjax.data.annotations import Picture, Thing, draw_mask
from cvjax.data.installed import data_folder
from cvjax.data.sources.coco import Coco
from cvjax.data.sources.voc import Voc
from cvjax.data.tiling import in_window, tiles_of, window_starts


@pytest.mark.parametrize("overlap", [0, 3, 9])
def test_windows_cover_an_axis_evenly_with_the_overlap_asked_for(overlap):
    for length in range(1, 60):
        starts = window_starts(length, 10, overlap)
        seen = {x for s in starts for x in range(s, s + 10)}
        assert set(range(length)) <= seen
        assert starts[0] == 0
        assert starts[-1] == max(length - 10, 0)
        steps = np.diff(starts)
        assert all(1 <= step <= 10 - overlap for step in steps)
        if len(starts) > 1:
            assert steps.max() - steps.min() <= 1
            # One window less would not do.
            assert (len(starts) - 1) * (10 - overlap) + overlap < length
    with pytest.raises(ValueError, match="below tile=10"):
        window_starts(20, 10, 10)


def test_boxes_are_cut_moved_and_ignored_where_little_is_left():
    thing = Thing((8, 2, 18, 6), 3, area=20.0, keypoints=((9, 3, 2), (12, 3, 2), (12, 3, 0)))
    left, right = (in_window(thing, (x, 0, 10, 10), (10, 20), 0.3) for x in (0, 10))
    assert (left.box, left.ignore, left.area) == ((8, 2, 10, 6), True, 4.0)
    assert (right.box, right.ignore, right.area) == ((0, 2, 8, 6), False, 16.0)
    assert [p[2] for p in left.keypoints] == [2, 0, 0]
    assert right.keypoints[1] == (2, 3, 2)
    assert in_window(thing, (18, 0, 10, 10), (10, 40), 0.0) is None  # it touches the edge
    crowd = Thing((0, 0, 5, 5), 0, ignore=True)
    assert in_window(crowd, (0, 0, 10, 10), (10, 10), 0.3).ignore


def test_a_mask_in_windows_is_the_whole_one_in_pieces():
    shape = (12, 20)
    triangle = [[1, 1, 18, 3, 7, 11]]
    whole = draw_mask(triangle, shape, shape)
    picture = Picture("", *shape, (Thing((1, 1, 18, 11), 0, mask=triangle),))
    again = np.zeros(shape, bool)
    for tile in tiles_of(picture, 8, overlap=0, min_visible=0.0):
        x, y, width, height = tile.window
        for thing in tile.things:
            drawn = draw_mask(thing.mask, (height, width), (height, width))
            again[y : y + height, x : x + width] |= drawn
    np.testing.assert_array_equal(again, whole)


XML = """<annotation><size><width>30</width><height>20</height></size><object><name>dog</name>
<bndbox><xmin>17</xmin><ymin>3</ymin><xmax>26</xmax><ymax>8</ymax></bndbox></object></annotation>"""


@pytest.mark.filterwarnings("ignore:voc")
def test_voc_in_windows_shows_each_part_of_the_file_with_its_boxes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(XML)
    files = {"path": str(tmp_path), "annotations": "{name}.xml", "images": "{name}.png"}
    files["names"] = {"train": ["a"], "test": ["a"]}
    source = Voc("train", **files, tile=20, image_size=20, tile_overlap={"train": 10})
    assert len(source) == 2
    assert source.describe(1).endswith("a.png at (10, 0)")
    for index, x in enumerate((0, 10)):
        np.testing.assert_array_equal(source[index]["image"], pixels[:, x : x + 20])
    assert source[0]["box_valid"].tolist() == [False]  # 4 of 10 columns of the dog
    np.testing.assert_array_equal(source[0]["boxes"], [[16, 2, 20, 8]])
    assert source[0]["box_ignore"].tolist() == [True]
    np.testing.assert_array_equal(source[1]["boxes"], [[6, 2, 16, 8]])
    assert source[1]["box_valid"].tolist() == [True]
    source[0]["image"][:] = 0  # a copy: what is kept of the file stays as it is
    np.testing.assert_array_equal(source[0]["image"], pixels[:, :20])
    assert len(Voc("test", **files, tile=15, keep_empty=False)) == 2  # of 4, two show no dog
    with pytest.raises(ValueError, match=r"tile_overlap=5 needs tile"):
        Voc("train", **files, tile_overlap=5)
    with pytest.raises(ValueError, match=r"names has no split 'val'"):
        Voc("val", **files)


def test_coco_in_windows_too(tmp_path):
    (tmp_path / "val").mkdir()
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(tmp_path / "val" / "1.png")
    data = {
        "images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 16}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": box}
            for i, box in enumerate(([1, 1, 4, 4], [9, 1, 4, 4], [1, 1, 2, 2]))
        ],
    }
    (tmp_path / "i.json").write_text(json.dumps(data))
    options = {"path": str(tmp_path), "annotations": "i.json", "tile": 8}
    with pytest.warns(UserWarning, match=r"1 over_the_limit: 1.png at \(0, 0\) object 2"):
        source = Coco("val", **options, max_objects=1)
    assert [source[i]["boxes"].tolist() for i in range(2)] == [[[1, 1, 5, 5]]] * 2


def test_a_path_may_lie_in_a_package_and_a_missing_one_says_how_to_get_it():
    import cvjax.data

    assert data_folder("package:cvjax/data").samefile(cvjax.data.__path__[0])
    with pytest.raises(FileNotFoundError, match="pip install --no-deps no_such_package"):
        data_folder("package:no_such_package/data")
