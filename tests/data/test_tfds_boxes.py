"""Objects of TFDS's data sets, prepared by TFDS itself in a tiny set of its own."""

import io
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cvjax import build
from cvjax.data.bad_examples import BadExample
from cvjax.data.options import DataOptions
from cvjax.data.source import Source
from cvjax.data.sources.tfds_boxes import TfdsBoxes

# Of each picture (height, width): label, (ymin, xmin, ymax, xmax) in pixels, crowd, area.
PICTURES = (
    ((20, 40), [("dog", (2, 4, 10, 24), False, 90), ("cat", (0, 0, 20, 40), True, 700)]),
    ((30, 30), []),
    ((10, 50), [("cat", (5, 5, 5, 20), False, 0), ("dog", (1, 1, 9, 9), False, 60)]),
)


class CvjaxObjects(tfds.core.GeneratorBasedBuilder):
    """Laid out as TFDS's coco is; the third picture has a box without area."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        objects = {
            "area": np.int64,
            "bbox": tfds.features.BBoxFeature(),
            "id": np.int64,
            "is_crowd": np.bool_,
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "objects": tfds.features.Sequence(objects),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, ((height, width), things) in enumerate(PICTURES):
            file = io.BytesIO()
            pixels = np.full((height, width, 3), 10 * number, np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            file.seek(0)
            scale = np.array([height, width, height, width])
            objects = [
                {"area": area, "bbox": tfds.features.BBox(*(np.array(box) / scale).tolist()),
                 "id": 1, "is_crowd": crowd, "label": label}
                for label, box, crowd, area in things
            ]  # fmt: skip
            yield number, {"image": file, "objects": objects}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds_boxes")
    CvjaxObjects(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return str(folder)


def by_picture(source):
    """TFDS shuffles: examples by the shade of their picture."""
    return {int(x["image"][0, 0, 0]) // 10: x for x in (source[i] for i in range(len(source)))}


def test_shares_become_pixels_and_crowds_are_ignored(data_dir):
    source = TfdsBoxes("train", dataset="cvjax_objects", path=data_dir, max_objects=3)
    assert isinstance(source, Source)
    assert source.info.class_names == ("cat", "dog")
    found = by_picture(source)
    assert found[0]["image"].shape == (20, 40, 3)
    np.testing.assert_allclose(found[0]["boxes"][:2], [[4, 2, 24, 10], [0, 0, 40, 20]], atol=1e-5)
    assert found[0]["box_label"].tolist() == [1, 0, 0]
    assert found[0]["box_valid"].tolist() == [True, False, False]
    assert found[0]["box_ignore"].tolist() == [False, True, False]
    assert found[0]["box_area"].tolist() == [90, 700, 0]
    assert not found[1]["box_valid"].any()
    # The box without area is dropped, and the report of the split knows.
    np.testing.assert_allclose(found[2]["boxes"][0], [1, 1, 9, 9], atol=1e-5)
    assert found[2]["box_valid"].tolist() == [True, False, False]
    assert {k: v for k, v in source.report.counts.items() if v} == {"zero_area": 1, "no_objects": 1}
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[0]["boxes"], source[0]["boxes"])


def test_a_config_brings_them_to_a_square_with_the_matrix_that_did_it(data_dir):
    options = DataOptions(name="tfds_boxes/cvjax_objects", path=data_dir, image_size=20)
    example = by_picture(build.source(options, "train"))[0]
    assert example["image"].shape == (20, 20, 3)
    np.testing.assert_allclose(example["boxes"][0], [2, 1, 12, 5], atol=1e-5)
    back = np.linalg.inv(example["view_matrix"]) @ [12, 5, 1]
    np.testing.assert_allclose(back, [24, 10, 1], atol=1e-5)


def test_corners_counted_from_one_the_largest_alone_and_bad_boxes_refused(data_dir):
    files = {"dataset": "cvjax_objects", "path": data_dir}
    one = by_picture(TfdsBoxes("train", **files, first_pixel=1, max_objects=1))[0]
    # VOC's way: 1 is the first pixel, both ends included. Of two the larger, cut to the picture.
    np.testing.assert_allclose(one["boxes"], [[0, 0, 40, 20]], atol=1e-5)
    two = by_picture(TfdsBoxes("train", **files, first_pixel=1))[0]
    np.testing.assert_allclose(two["boxes"][0], [3, 1, 24, 10], atol=1e-5)
    strict = TfdsBoxes("train", **files, on_bad_box="error")
    with pytest.raises(BadExample, match="1 zero_area"):
        by_picture(strict)
    with pytest.raises(ValueError, match="no feature 'things'"):
        TfdsBoxes("train", **files, objects_key="things")
    with pytest.raises(ValueError, match="expected a sequence with 'bbox' and 'label'"):
        TfdsBoxes("train", **files, objects_key="image")
