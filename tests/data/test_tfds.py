"""Prepared TFDS data, in both formats, without TensorFlow."""

import io
import json
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cvjax.data.bad_examples import BadExample
from cvjax.data.source import Source
from cvjax.data.sources.tfds import Tfds, TfRecords, record_starts


def picture(split: str, number: int) -> np.ndarray:
    rng = np.random.default_rng((len(split), number))
    return rng.integers(0, 256, (4 + number, 5, 3)).astype(np.uint8)


class CvjaxTiny(tfds.core.GeneratorBasedBuilder):
    """Ten training and four test pictures in three classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
                    "weight": np.float32,
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples("train", 10),
            "test": self._generate_examples("test", 4),
        }

    def _generate_examples(self, split, count):
        for number in range(count):
            file = io.BytesIO()
            Image.fromarray(picture(split, number)).save(file, "PNG")
            file.seek(0)
            yield number, {"image": file, "label": number % 3, "weight": 0.5}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The tiny data set prepared as array_record by TFDS itself."""
    folder = tmp_path_factory.mktemp("tfds")
    CvjaxTiny(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return str(folder)


@pytest.fixture(scope="module")
def tfrecord_dir(data_dir, tmp_path_factory):
    """The same records in tfrecord's framing, written here byte by byte."""
    folder = tmp_path_factory.mktemp("tfrecord") / "cvjax_tiny" / "1.0.0"
    folder.mkdir(parents=True)
    builder = tfds.builder("cvjax_tiny", data_dir=data_dir)
    for name in ("features.json", "label.labels.txt"):
        (folder / name).write_bytes((builder.data_path / name).read_bytes())
    info = json.loads((builder.data_path / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    for split in info["splits"]:
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        raw = builder.as_data_source(
            split=split["name"], deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        with open(folder / f"cvjax_tiny-{split['name']}.tfrecord-00000-of-00001", "wb") as file:
            for record in (raw[i] for i in range(len(raw))):
                file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return str(folder.parent.parent)


def contents(source):
    examples = [source[index] for index in range(len(source))]
    return sorted((example["image"].tobytes(), int(example["label"])) for example in examples)


def test_every_example_is_the_one_that_was_prepared(data_dir):
    for split, count in (("train", 10), ("test", 4)):
        source = Tfds(split, dataset="cvjax_tiny", path=data_dir)
        assert isinstance(source, Source)
        assert len(source) == count
        assert contents(source) == sorted(
            (picture(split, number).tobytes(), number % 3) for number in range(count)
        )
    assert source.info.class_names == ("ant", "bee", "cow")
    assert source.info.num_classes == 3
    assert source.info.image_shape is None
    assert source[0]["label"].dtype == np.int32
    assert source.describe(2) == "tfds/cvjax_tiny[test] example 2"


def test_the_reader_agrees_with_tfds_own(data_dir):
    theirs = tfds.builder("cvjax_tiny", data_dir=data_dir).as_data_source(split="train")
    ours = Tfds("train", dataset="cvjax_tiny", path=data_dir)
    for index in range(10):
        np.testing.assert_array_equal(ours[index]["image"], theirs[index]["image"])
        assert ours[index]["label"] == theirs[index]["label"]


def test_encoded_hands_over_the_image_file(data_dir):
    data, fields = Tfds("train", dataset="cvjax_tiny", path=data_dir).encoded(3)
    assert data.startswith(b"\x89PNG")
    assert fields["label"].shape == ()


def test_parts_of_splits_make_up_the_whole(data_dir):
    parts = [
        Tfds(split, dataset="cvjax_tiny", path=data_dir) for split in ("train[:70%]", "train[70%:]")
    ]
    assert [len(part) for part in parts] == [7, 3]
    whole = Tfds("train", dataset="cvjax_tiny", path=data_dir)
    assert sorted(contents(parts[0]) + contents(parts[1])) == contents(whole)


@pytest.mark.parametrize("split", ["train", "test", "train[20%:60%]"])
def test_tfrecord_holds_the_same_examples_in_the_same_order(data_dir, tfrecord_dir, split):
    expected = Tfds(split, dataset="cvjax_tiny", path=data_dir)
    source = Tfds(split, dataset="cvjax_tiny", path=tfrecord_dir)
    assert len(source) == len(expected)
    for index in range(len(source)):
        np.testing.assert_array_equal(source[index]["image"], expected[index]["image"])
        assert source[index]["label"] == expected[index]["label"]


def test_records_run_on_over_several_files(tmp_path):
    for number, records in enumerate([[b"a", b"", b"ccc"], [b"dd"]]):
        framed = b"".join(struct.pack("<QI", len(r), 1) + r + b"\x02" * 4 for r in records)
        (tmp_path / str(number)).write_bytes(framed)
    first, second = str(tmp_path / "0"), str(tmp_path / "1")
    records = TfRecords(((first, 1, 2), (second, 0, 1)))
    assert [records[i] for i in range(len(records))] == [b"", b"ccc", b"dd"]
    with pytest.raises(IndexError):
        records[3]


def test_a_truncated_tfrecord_loses_its_last_examples_and_no_others(tfrecord_dir, tmp_path):
    builder = tfds.builder("cvjax_tiny", data_dir=tfrecord_dir)
    folder = tmp_path / "cvjax_tiny" / "1.0.0"
    folder.mkdir(parents=True)
    for file in builder.data_path.iterdir():
        content = file.read_bytes()
        (folder / file.name).write_bytes(content[:-30] if "train" in file.name else content)
    (folder / "unrelated").write_bytes(b"")
    source = Tfds("train", dataset="cvjax_tiny", path=str(tmp_path))
    assert source[8]["image"].ndim == 3
    with pytest.raises(BadExample, match=r"example 9: damaged record: .* is truncated: 9 records"):
        source[9]
    shard = next(folder.glob("*train*"))
    assert len(record_starts(str(shard))) == 10


def test_path_may_be_the_very_folder_and_names_are_checked(data_dir):
    folder = f"{data_dir}/cvjax_tiny/1.0.0"
    assert len(Tfds("train", dataset="cvjax_tiny", path=folder)) == 10
    with pytest.raises(ValueError, match=r"holds 'cvjax_tiny', not 'mnist'"):
        Tfds("train", dataset="mnist", path=folder)


def test_a_pickle_carries_options_only_and_reads_the_same(data_dir):
    source = Tfds("train", dataset="cvjax_tiny", path=data_dir, channels=1)
    copy = pickle.dumps(source)
    assert len(copy) < 1000
    again = pickle.loads(copy)
    np.testing.assert_array_equal(again[2]["image"], source[2]["image"])
    assert again[2]["image"].shape[-1] == 1


def test_own_class_names_replace_the_ids(data_dir):
    options = {"dataset": "cvjax_tiny", "path": data_dir}
    assert Tfds("test", **options, class_names=["A", "B", "C"]).info.class_names == ("A", "B", "C")
    with pytest.raises(ValueError, match=r"has 3 classes, got 1 class_names"):
        _ = Tfds("test", **options, class_names=["A"]).info


def test_a_data_set_that_is_not_prepared_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Tfds("train", dataset="cifar10", path=str(tmp_path))
    message = str(caught.value)
    assert "pip install tensorflow" in message
    assert f"tfds build --file_format=array_record --data_dir={tmp_path} cifar10" in message
    assert "file_format='array_record').download_and_prepare()" in message


def test_a_data_set_with_downloads_by_hand_says_which_and_where(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Tfds("train", dataset="imagenet2012", path=str(tmp_path))
    assert f"by hand into {tmp_path}/downloads/manual" in str(caught.value)
    assert "ILSVRC2012_img_train.tar" in str(caught.value)


def test_unknown_names_are_named(data_dir):
    with pytest.raises(ValueError, match=r"no data set 'cifar11'.* Did you mean 'cifar10"):
        Tfds("train", dataset="cifar11", path=data_dir)
    with pytest.raises(ValueError, match=r"no split 'trian'; there are \['train', 'test'\]"):
        Tfds("trian", dataset="cvjax_tiny", path=data_dir)
    with pytest.raises(ValueError, match=r"no feature 'images'; .* Set image_key"):
        Tfds("train", dataset="cvjax_tiny", path=data_dir, image_key="images")
    with pytest.raises(ValueError, match=r"'weight' of cvjax_tiny is .* expected one Image"):
        Tfds("train", dataset="cvjax_tiny", path=data_dir, image_key="weight")
    with pytest.raises(ValueError, match=r"'weight' of cvjax_tiny is .* expected one ClassLabel"):
        Tfds("train", dataset="cvjax_tiny", path=data_dir, label_key="weight")


def test_reading_both_formats_imports_no_tensorflow(data_dir, tfrecord_dir):
    code = (
        "import sys; from cvjax.data.sources.tfds import Tfds\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        f"for path in ({data_dir!r}, {tfrecord_dir!r}):\n"
        "    assert Tfds('test', dataset='cvjax_tiny', path=path)[0]['image'].ndim == 3\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
