"""The MNIST file format: what is read, and what is said of files that are wrong or missing."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from cvjax.data.sources.idx import Idx, read_idx


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (40, 5, 4)),
        "train-labels-idx1-ubyte": np.arange(40) % 4,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (8, 5, 4)),
        "t10k-labels-idx1-ubyte": np.arange(8) % 3,
    }


@pytest.fixture
def folder(tmp_path, arrays):
    for name, array in arrays.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return tmp_path


def test_images_and_labels_are_those_in_the_files(folder, arrays):
    test = Idx("test", path=str(folder))
    np.testing.assert_array_equal(test.images[..., 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert test.info.image_shape == (5, 4, 1)
    assert test.info.num_classes == 3
    assert Idx("train", path=str(folder), image_size=8, channels=3).images.shape == (40, 8, 8, 3)


def test_plain_files_and_the_dotted_spelling_are_read_too(tmp_path, arrays):
    for name, array in arrays.items():
        (tmp_path / name.replace("-idx", ".idx")).write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(
        Idx("train", path=str(tmp_path)).images[..., 0], arrays["train-images-idx3-ubyte"]
    )


def test_the_first_folder_that_has_the_files_is_read(folder, tmp_path):
    source = Idx("test", path=["/nonexistent", str(tmp_path / "empty"), str(folder)])
    assert source.info.name == f"idx[test] in {folder}"
    assert len(pickle.loads(pickle.dumps(source))) == 8


def test_validation_is_a_stratified_part_of_the_training_files(folder):
    options = {"path": str(folder), "validation_fraction": 0.2}
    train, validation = Idx("train", **options), Idx("validation", **options)
    assert (len(train), len(validation)) == (32, 8)
    assert np.bincount(validation.labels).tolist() == [2, 2, 2, 2]
    assert len(np.unique(np.concatenate([train.images, validation.images]), axis=0)) == 40


def test_known_class_names_are_taken_by_key_and_own_ones_as_a_list(folder):
    names = Idx("test", path=str(folder), class_names="fashion_mnist").info.class_names
    assert names[0] == "T-shirt/top"
    assert names[9] == "Ankle boot"
    info = Idx("test", path=str(folder), class_names=list("abcd")).info
    assert (info.class_names, info.num_classes) == (tuple("abcd"), 4)
    with pytest.raises(ValueError, match="no class names known for 'fashion'"):
        Idx("test", path=str(folder), class_names="fashion")
    with pytest.raises(ValueError, match="labels run from 0 to 2, but there are 2 classes"):
        Idx("test", path=str(folder), class_names=list("ab"))


def test_missing_files_name_the_folders_and_three_ways_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Idx("train", path=[str(tmp_path), "/nonexistent"])
    message = str(caught.value)
    for part in (
        str(tmp_path),
        "/nonexistent",
        "train-images-idx3-ubyte",
        "apt-get install dataset-fashion-mnist",
        "github.com/zalandoresearch/fashion-mnist",
        "tfds build --file_format=array_record fashion_mnist",
        'data.name="tfds/fashion_mnist"',
    ):
        assert part in message


IMAGES = idx_bytes(np.zeros((3, 2, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: 0 bytes"),
        (IMAGES[:10], "truncated: 10 bytes, its header alone is 16"),
        (IMAGES[:-1], r"truncated: 27 bytes where shape \(3, 2, 2\) needs 28"),
        (IMAGES + b"x", "longer than its header says"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "truncated or damaged gzip"),
        (b"\x89PNG" + IMAGES, "no idx file: it begins with 89 50 4e 47"),
        (idx_bytes(np.zeros(30)), "1 dimensions of uint8, expected 3 of uint8"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "3 dimensions of float32"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path, dims=3)
    assert str(path) in str(caught.value)


def test_counts_that_disagree_are_told(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.zeros(7))))
    with pytest.raises(ValueError, match=r"has 8 images but .* has 7 labels"):
        Idx("test", path=str(folder))


def test_fashion_mnist_as_debian_installs_it():
    path = "/usr/share/datasets/fashion-mnist"
    try:
        test = Idx("test", path=path, class_names="fashion_mnist")
    except FileNotFoundError:
        pytest.skip("package dataset-fashion-mnist is not installed")
    assert test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert round(float(test.images.mean()) / 255, 3) == 0.287  # the published mean of the test set
