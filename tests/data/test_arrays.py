"""npz files in the layouts that people have, and any source of small images loaded whole."""

import pickle

import numpy as np
import pytest
from PIL import Image

from cvjax.data.sources.arrays import Arrays
from cvjax.data.sources.folder import Folder
from cvjax.data.sources.loaded import Loaded


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "train": (rng.integers(0, 256, (20, 6, 5)).astype(np.uint8), np.arange(20) % 4),
        "test": (rng.integers(0, 256, (8, 6, 5)).astype(np.uint8), np.arange(8) % 4),
    }


LAYOUTS = {
    "keras": ("x_{0}", "y_{0}"),
    "medmnist": ("{0}_images", "{0}_labels"),
    "own": ("{0}_image", "{0}_label"),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_divided_files_are_read_in_every_spelling(tmp_path, arrays, layout):
    image_key, label_key = LAYOUTS[layout]
    content = {}
    for split, (images, labels) in arrays.items():
        content[image_key.format(split)] = images
        content[label_key.format(split)] = labels[:, None]  # Keras and MedMNIST: [N, 1]
    np.savez(tmp_path / "set.npz", **content)
    for split, (images, labels) in arrays.items():
        source = Arrays(split, path=str(tmp_path / "set.npz"))
        np.testing.assert_array_equal(source.images[..., 0], images)
        np.testing.assert_array_equal(source.labels, labels)
        assert source.info.image_shape == (6, 5, 1)
        assert source.info.num_classes == 4


def test_a_folder_with_a_file_per_split_is_read(tmp_path, arrays):
    for split, (images, labels) in arrays.items():
        np.savez_compressed(tmp_path / f"{split}.npz", image=images, label=labels)
    test = Arrays("test", path=str(tmp_path), channels=3, image_size=10)
    assert test.images.shape == (8, 10, 10, 3)
    copy = pickle.dumps(test)
    assert len(copy) < 1000
    np.testing.assert_array_equal(pickle.loads(copy).images, test.images)


def test_an_undivided_file_is_split_by_class_and_seed(tmp_path, arrays):
    images, labels = arrays["train"]
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    train, test = (Arrays(split, path=str(tmp_path / "all.npz")) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert np.bincount(test.labels).tolist() == [1, 1, 1, 1]
    together = np.concatenate([train.images, test.images])[..., 0]
    assert sorted(map(bytes, together)) == sorted(map(bytes, images))


def test_validation_comes_out_of_training_where_the_file_has_none(tmp_path, arrays):
    content = {}
    for split, (images, labels) in arrays.items():
        content |= {f"x_{split}": images, f"y_{split}": labels}
    path = str(tmp_path / "set.npz")
    np.savez(path, **content)
    train = Arrays("train", path=path, validation_fraction=0.2)
    validation = Arrays("validation", path=path, validation_fraction=0.2)
    assert (len(train), len(validation)) == (16, 4)
    assert len(Arrays("test", path=path)) == 8
    with pytest.raises(ValueError, match=r"holds a test split, and test_fraction=0.1 asks"):
        Arrays("train", path=path, test_fraction=0.1)
    with pytest.raises(ValueError, match=r"validation_fraction is 0"):
        Arrays("validation", path=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": 0}, r"expected one array of images .* its keys are \['data'\]"),
        ({"image": np.zeros((2, 3, 3)), "label": np.arange(2)}, "image is float64 .* become bytes"),
        ({"image": np.zeros((2, 3, 3, 4), np.uint8), "label": np.arange(2)}, "expected uint8"),
        ({"image": np.zeros((2, 3, 3), np.uint8), "label": np.eye(2)}, "labels.argmax"),
        ({"image": np.zeros((2, 3, 3), np.uint8), "label": np.arange(3)}, "2 images but 3 labels"),
        ({"image": np.zeros((0, 3, 3), np.uint8), "label": np.arange(0)}, "no examples"),
        ({"image": np.zeros((2, 3, 3), np.uint8), "label": np.array([0, -1])}, "from -1 to 0"),
    ],
)
def test_wrong_arrays_are_named_with_what_is_wrong(tmp_path, content, message):
    np.savez(tmp_path / "train.npz", **content)
    with pytest.raises(ValueError, match=message):
        Arrays("train", path=str(tmp_path))


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no train.npz or test.npz"):
        Arrays("train", path=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"np.savez"):
        Arrays("train", path=str(tmp_path / "nothing.npz"))
    path = tmp_path / "set.npz"
    np.savez(path, image=np.zeros((50, 9, 9), np.uint8), label=np.zeros(50, int))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"no readable .npz"):
        Arrays("train", path=str(path))
    path.write_bytes(b"no zip archive")
    with pytest.raises(ValueError, match=r"no readable .npz"):
        Arrays("train", path=str(path))


def test_files_loaded_whole_are_the_examples_of_the_folder(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            image = rng.integers(0, 256, (7, 7, 3)).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{number}.png")
    folder = Folder("train", path=str(tmp_path), test_fraction=0.0)
    loaded = Loaded(folder)
    batch = loaded.batch(np.array([4, 1]))
    np.testing.assert_array_equal(batch["image"][0], folder[4]["image"])
    assert batch["label"].tolist() == [1, 0]
    assert loaded.info.class_names == ("a", "b")
    assert loaded.info.image_shape == (7, 7, 3)
    assert loaded.describe(2) == folder.describe(2)
    assert Loaded(folder, image_size=4, channels=1).images.shape == (6, 4, 4, 1)


def test_images_of_several_shapes_cannot_be_loaded_as_they_are(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(2):
        Image.new("RGB", (3 + number, 4)).save(tmp_path / "a" / f"{number}.png")
    folder = Folder("train", path=str(tmp_path), test_fraction=0.0)
    with pytest.raises(ValueError, match=r"images of 2 shapes"):
        Loaded(folder)
    assert Loaded(folder, image_size=4).images.shape == (2, 4, 4, 3)
