"""The sources coco and voc on small files that hold every kind of mistake."""

import json
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from cvjax import build
from cvjax.data.annotations import (
    KINDS,
    Report,
    Thing,
    draw_mask,
    largest,
    place,
    sound_things,
)
from cvjax.data.options import DataOptions
from cvjax.data.sources.coco import Coco
from cvjax.data.sources.voc import Voc

SQUARE = [[10, 10, 30, 10, 30, 20, 10, 20]]  # a polygon: x 10 to 30, y 10 to 20


def picture(path, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = 200
    Image.fromarray(pixels).save(path, quality=95)


def annotation(number, image, category, bbox, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


def coco_folder(tmp_path, annotations, images=((1, 40, 80), (2, 60, 60))):
    for key, height, width in images:
        picture(tmp_path / "val" / f"{key}.jpg", height, width)
    data = {
        "images": [
            {"id": key, "file_name": f"{key}.jpg", "height": height, "width": width}
            for key, height, width in reversed(images)
        ],
        "categories": [
            {"id": 7, "name": "dog"},
            {"id": 3, "name": "person", "keypoints": ["nose", "tail"]},
        ],
        "annotations": annotations,
    }
    (tmp_path / "annotations").mkdir()
    for name, content in (
        ("instances", data),
        ("captions", {"annotations": [
            {"id": 5, "image_id": 1, "caption": "A dog, a man."},
            {"id": 2, "image_id": 1, "caption": "Two of them"},
        ]}),
    ):  # fmt: skip
        (tmp_path / "annotations" / f"{name}_val.json").write_text(json.dumps(content))
    return str(tmp_path)


def test_coco_gives_boxes_crowds_masks_keypoints_and_words_of_a_padded_picture(tmp_path):
    crowd = {"size": [40, 80], "counts": [0, 40 * 8, 40 * 72]}  # columns 0 to 7
    path = coco_folder(
        tmp_path,
        [
            annotation(1, 1, 3, [10, 10, 20, 10], area=123.0, iscrowd=0, segmentation=SQUARE,
                       keypoints=[12, 14, 2, 7, 9, 0]),
            annotation(2, 1, 7, [0, 0, 8, 40], area=320.0, iscrowd=1, segmentation=crowd),
        ],
    )  # fmt: skip
    targets = ("masks", "keypoints", "caption")
    with pytest.warns(UserWarning, match="1 no_objects: 2.jpg"):
        source = Coco("val", path=path, image_size=40, targets=targets)
    assert source.info.class_names == ("person", "dog")
    assert source.info.keypoint_names == ("nose", "tail")
    assert len(source) == 2
    example = source[0]
    image = example["image"]
    assert image.shape == (40, 40, 3)
    assert abs(int(image[5, 5, 0]) - 200) < 4
    assert image[5, 35].max() < 4
    assert (image[20:] == 128).all()  # twice as wide as high: the lower half is padding
    np.testing.assert_allclose(example["boxes"], [[5, 5, 15, 10], [0, 0, 4, 20]])
    assert example["box_label"].tolist() == [0, 1]
    assert example["box_valid"].tolist() == [True, False]
    assert example["box_ignore"].tolist() == [False, True]
    assert example["box_area"].tolist() == [123.0, 320.0]
    back = np.linalg.inv(example["view_matrix"]) @ [15, 10, 1]
    np.testing.assert_allclose(back, [30, 20, 1])
    want = np.zeros((2, 40, 40), bool)
    want[0, 5:10, 5:15] = True
    want[1, :20, :4] = True
    np.testing.assert_array_equal(example["masks"], want)
    np.testing.assert_allclose(example["keypoints"][0], [[6, 7, 2], [0, 0, 0]])
    words = source.info.words
    found = [words[t] for t in example["tokens"][example["token_valid"]]]
    assert found == ["two", "of", "them"]
    assert source.all_captions(0) == ("Two of them", "A dog, a man.")
    assert words[:2] == ("<other>", "a")  # the most frequent first
    assert not source[1]["token_valid"].any()
    assert not source[1]["box_valid"].any()
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[0]["boxes"], example["boxes"])


def test_every_kind_of_bad_box_is_counted_and_a_sound_one_is_left(tmp_path):
    boxes = {
        "not_finite": [float("nan"), 0, 5, 5],
        "inverted": [20, 20, -5, 5],
        "zero_area": [20, 20, 0, 5],
        "outside": [90, 5, 5, 5],
        "cut": [70, 30, 20, 20],
    }
    entries = [annotation(i, 1, 3, box) for i, box in enumerate(boxes.values())]
    entries += [
        annotation(10, 1, 99, [1, 1, 5, 5]),
        annotation(11, 55, 3, [1, 1, 5, 5]),
        annotation(12, 1, 3, "what"),
        annotation(13, 1, 3, [1, 1, 2, 2]),
        annotation(14, 1, 7, [1, 1, 9, 9]),
    ]
    path = coco_folder(tmp_path, entries)
    with pytest.warns(UserWarning, match="2 not_finite: annotation 0, annotation 12"):
        source = Coco("val", path=path, max_objects=2, keep_empty=False)
    want = {**dict.fromkeys(KINDS, 1), "not_finite": 2}
    assert source.report.counts == want
    assert len(source) == 1
    np.testing.assert_allclose(source[0]["boxes"], [[70, 30, 80, 40], [1, 1, 10, 10]])
    assert source[0]["image"].shape == (40, 80, 3)
    with pytest.raises(ValueError, match=r"1 inverted: annotation 1(.|\n)*on_bad_box='drop'"):
        Coco("val", path=path, on_bad_box="error")


def test_five_hundred_objects_fit_and_the_largest_are_kept_under_a_limit():
    things = [(f"{i}", Thing((0, 0, 1 + i, 10), 0)) for i in range(500)]
    report = Report()
    kept = sound_things(things, height=600, width=600, report=report)
    assert len(kept) == len(largest(things, None, report)) == 500
    assert not any(report.counts.values())
    kept = largest(things, 3, report)
    assert [t.box[2] for t in kept] == [498, 499, 500]
    assert report.counts["over_the_limit"] == 497
    assert str(report) == "497 over_the_limit: 0, 1, 2, ..."


def test_chosen_classes_leave_others_out_without_complaint(tmp_path):
    path = coco_folder(
        tmp_path, [annotation(1, 1, 3, [1, 1, 5, 5]), annotation(2, 2, 7, [1, 1, 5, 5])]
    )
    with pytest.warns(UserWarning, match="no_objects") as caught:
        source = Coco("val", path=path, classes=("dog",))
    assert "unknown" not in str(caught[0].message)
    assert source[1]["box_label"].tolist() == [0]
    assert source[1]["box_valid"].all()
    with pytest.raises(ValueError, match="classes=\\['cat'\\] are not in the file"):
        Coco("val", path=path, classes=("cat",))


XML = """<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{0}</name><difficult>{1}</difficult><bndbox><xmin>{2}</xmin>
<ymin>{3}</ymin><xmax>{4}</xmax><ymax>{5}</ymax></bndbox></object>"""


def voc_folder(tmp_path, objects, height=50, width=100):
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("000012  1\n000007 -1\n")
    (tmp_path / "Annotations").mkdir()
    for name, things in (("000012", objects), ("000007", [])):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg", height, width)
        text = "".join(OBJECT.format(*thing) for thing in things)
        content = XML.format(width=width, height=height, objects=text)
        (tmp_path / "Annotations" / f"{name}.xml").write_text(content)
    return str(tmp_path)


def test_voc_counts_from_one_marks_difficult_objects_and_reports_bad_ones(tmp_path):
    objects = [
        ("dog", 0, 1, 1, 100, 50),
        ("person", 1, 11, 21, 11, 30),  # a pixel wide
        ("unicorn", 0, 1, 1, 9, 9),
        ("cat", 0, 30, 5, 20, 9),
        ("cat", 0, "left", 5, 20, 9),
    ]
    path = voc_folder(tmp_path, objects)
    with pytest.warns(UserWarning, match=r"1 unknown_class: 000012 object 3 \(unicorn\)"):
        source = Voc("train", path=path, image_size=100, fit="stretch")
    assert source.report.counts["inverted"] == source.report.counts["not_finite"] == 1
    assert source.describe(0).endswith("000012.jpg")
    assert len(source) == 2
    example = source[0]
    np.testing.assert_allclose(example["boxes"], [[0, 0, 100, 100], [10, 40, 11, 60]])
    assert example["box_label"].tolist() == [11, 14]
    assert example["box_valid"].tolist() == [True, False]
    assert example["box_ignore"].tolist() == [False, True]
    assert example["box_area"].tolist() == [5000, 10]


@pytest.mark.filterwarnings("ignore:voc")
def test_several_years_of_voc_follow_each_other(tmp_path):
    first = voc_folder(tmp_path / "VOC2007", [("dog", 0, 1, 1, 100, 50)])
    second = voc_folder(tmp_path / "VOC2012", [("cat", 0, 1, 1, 100, 50)])
    source = Voc("train", path=(first, second))
    assert len(source) == 4
    assert [int(source[i]["box_label"][0]) for i in (0, 2)] == [11, 7]
    (tmp_path / "VOC2007" / "ImageSets" / "Main" / "test.txt").write_text("000012\n")
    assert len(Voc("test", path=(first, second))) == 1


def test_configs_name_these_sources_and_missing_files_are_told(tmp_path):
    path = voc_folder(tmp_path, [("dog", 0, 1, 1, 100, 50)])
    options = DataOptions(name="voc", path=path, image_size=32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert build.source(options, "train")[0]["image"].shape == (32, 32, 3)
    with pytest.raises(FileNotFoundError, match=r"there are: \['train'\]"):
        Voc("val", path=path)
    with pytest.raises(FileNotFoundError, match=r"annotations/instances_val\.json"):
        Coco("val", path=path)
    with pytest.raises(ValueError, match=r"fit='crop'(.|\n)*max_objects=0"):
        Voc("train", path=path, fit="crop", max_objects=0)
    picture(tmp_path / "JPEGImages" / "000012.jpg", 20, 20)
    with (
        pytest.warns(UserWarning, match="no_objects"),
        pytest.raises(ValueError, match=r"20x20, but its.*100x50"),
    ):
        Voc("train", path=path)[0]


def test_a_picture_is_placed_and_its_masks_with_it():
    height, width, matrix = place(300, 400, 100, "pad")
    assert (height, width) == (75, 100)
    np.testing.assert_allclose(np.diag(matrix), [0.25, 0.25, 1])
    assert place(300, 400, 100, "stretch")[:2] == (100, 100)
    assert place(1, 400, 100, "pad")[0] == 1
    compressed = draw_mask([[0, 0, 4, 0, 4, 2, 0, 2]], (4, 8), (4, 8))
    from pycocotools import mask as coco_mask

    runs = coco_mask.encode(np.asfortranarray(compressed.astype(np.uint8)))
    np.testing.assert_array_equal(
        draw_mask(runs, (4, 8), (8, 16)), np.kron(compressed, np.ones((2, 2)))
    )
    assert not draw_mask([[1, 1, 2, 2]], (4, 8), (4, 8)).any()  # no polygon
