"""Class folders: what is listed, how it is split, and what is said of a wrong layout."""

import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from cvjax.data.bad_examples import BadExample
from cvjax.data.source import Source
from cvjax.data.sources.folder import Folder
from cvjax.data.views import make_view


def colour(class_index: int, number: int) -> tuple[int, int, int]:
    return (10 * class_index, 3 * number, 200)


def write_classes(root, classes, count, kind="PNG", ending=".png"):
    for class_index, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = Image.new("RGB", (4 + number, 5), colour(class_index, number))
            picture.save(root / name / f"{number:02}{ending}", kind)


def test_every_file_is_listed_once_in_the_order_of_names_with_its_class(tmp_path):
    write_classes(tmp_path / "train", ["bee", "ant"], 3)
    write_classes(tmp_path / "test", ["ant", "bee"], 2)
    train = Folder("train", path=str(tmp_path))
    assert isinstance(train, Source)
    assert train.info.class_names == ("ant", "bee")
    assert train.info.num_classes == 2
    assert [os.path.relpath(train.describe(i), tmp_path) for i in range(6)] == [
        f"train/{name}/0{number}.png" for name in ("ant", "bee") for number in range(3)
    ]
    example = train[1]
    assert example["image"].shape == (5, 5, 3)
    assert example["image"][0, 0].tolist() == list(colour(1, 1))  # ant was written second
    assert example["label"] == 0
    assert example["label"].dtype == np.int32
    assert len(Folder("test", path=str(tmp_path))) == 4


@pytest.mark.parametrize("alias", ["validation", "val", "valid"])
def test_the_validation_folder_goes_by_three_names(tmp_path, alias):
    write_classes(tmp_path / "train", ["a", "b"], 2)
    write_classes(tmp_path / alias, ["a", "b"], 1)
    assert len(Folder("validation", path=str(tmp_path))) == 2


def test_an_undivided_set_is_split_by_class_and_seed_without_overlap(tmp_path):
    write_classes(tmp_path, ["a", "b", "c"], 10)
    options = {"path": str(tmp_path), "validation_fraction": 0.1, "seed": 4}
    parts = {split: Folder(split, **options) for split in ("train", "validation", "test")}
    names = {s: {part.describe(i) for i in range(len(part))} for s, part in parts.items()}
    assert {split: len(part) for split, part in names.items()} == {
        "train": 21,
        "validation": 3,
        "test": 6,
    }
    assert len(set.union(*names.values())) == 30
    for part in parts.values():
        labels = [int(part.encoded(i)[1]["label"]) for i in range(len(part))]
        assert np.ptp(np.bincount(labels)) == 0
        assert labels == sorted(labels)
    other = Folder("test", path=str(tmp_path), seed=5)
    assert {other.describe(i) for i in range(6)} != names["test"]


def test_a_missing_validation_folder_can_come_out_of_training(tmp_path):
    write_classes(tmp_path / "train", ["a", "b"], 10)
    write_classes(tmp_path / "test", ["a", "b"], 2)
    options = {"path": str(tmp_path), "validation_fraction": 0.2}
    sizes = [len(Folder(split, **options)) for split in ("train", "validation", "test")]
    assert sizes == [16, 4, 4]


def test_content_counts_and_not_the_files_name(tmp_path):
    write_classes(tmp_path, ["a"], 2, kind="PNG", ending=".jpg")
    write_classes(tmp_path, ["b"], 2, kind="JPEG", ending=".PNG")
    train = Folder("train", path=str(tmp_path), test_fraction=0.0)
    assert train[1]["image"][0, 0].tolist() == list(colour(0, 1))
    np.testing.assert_allclose(train[3]["image"][0, 0].astype(int), colour(0, 1), atol=3)


@pytest.mark.parametrize(
    ("kind", "ending"), [("JPEG", ".jpeg"), ("BMP", ".bmp"), ("WEBP", ".WebP"), ("GIF", ".gif")]
)
def test_other_formats_are_found_and_decoded(tmp_path, kind, ending):
    write_classes(tmp_path, ["a"], 2, kind=kind, ending=ending)
    example = Folder("train", path=str(tmp_path), test_fraction=0.0)[1]
    np.testing.assert_allclose(example["image"][2, 2].astype(int), colour(0, 1), atol=6)


def test_encoded_hands_over_the_file_itself_for_a_view(tmp_path):
    write_classes(tmp_path, ["a"], 1)
    train = Folder("train", path=str(tmp_path))
    data, fields = train.encoded(0)
    with open(train.describe(0), "rb") as file:
        assert data == file.read()
    assert fields["label"] == 0
    view = make_view("resize", 8)
    assert view(data, np.random.default_rng(0)).shape == (8, 8, 3)


def test_bad_files_name_themselves_when_read_and_not_before(tmp_path):
    write_classes(tmp_path, ["a"], 3)
    (tmp_path / "a" / "00.png").write_bytes(b"")
    whole = (tmp_path / "a" / "01.png").read_bytes()
    (tmp_path / "a" / "01.png").write_bytes(whole[: len(whole) // 2])
    train = Folder("train", path=str(tmp_path), test_fraction=0.0)
    with pytest.raises(BadExample, match=r"a/00\.png: empty file"):
        train[0]
    with pytest.raises(BadExample, match=r"a/01\.png: no complete image"):
        train[1]
    (tmp_path / "a" / "02.png").unlink()
    with pytest.raises(BadExample, match=r"a/02\.png: cannot be read: No such file"):
        train[2]


def test_nested_folders_and_links_to_class_folders_are_followed(tmp_path):
    write_classes(tmp_path / "elsewhere", ["x"], 2)
    write_classes(tmp_path / "set", ["a"], 1)
    write_classes(tmp_path / "set" / "a", ["deeper"], 1)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere" / "x")
    (tmp_path / "set" / ".hidden").mkdir()
    (tmp_path / "set" / "a" / "._00.png").write_bytes(b"metadata of another system")
    train = Folder("train", path=str(tmp_path / "set"), test_fraction=0.0)
    names = [os.path.relpath(train.describe(i), tmp_path / "set") for i in range(len(train))]
    assert names == ["a/00.png", "a/deeper/00.png", "b/00.png", "b/01.png"]


def test_files_of_other_kinds_are_left_out_with_a_warning(tmp_path):
    write_classes(tmp_path, ["a"], 2)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    with pytest.warns(UserWarning, match=r"1 files without .* left out, for example .*notes\.txt"):
        assert len(Folder("train", path=str(tmp_path), test_fraction=0.0)) == 2


def test_a_pickle_lists_the_same_files_whatever_happened_since(tmp_path):
    write_classes(tmp_path, ["a"], 3)
    train = Folder("train", path=str(tmp_path), test_fraction=0.0)
    copy = pickle.dumps(train)
    (tmp_path / "a" / "000.png").write_bytes(b"")
    again = pickle.loads(copy)
    assert [again.describe(i) for i in range(3)] == [train.describe(i) for i in range(3)]


def test_names_that_are_no_utf8_survive(tmp_path):
    write_classes(tmp_path, ["a"], 1)
    odd = os.path.join(os.fsencode(tmp_path), b"a", b"\xff\xe9.png")
    try:
        os.rename(tmp_path / "a" / "00.png", odd)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    assert Folder("train", path=str(tmp_path))[0]["image"].shape == (5, 4, 3)


def test_another_set_of_classes_in_test_is_an_error_that_shows_the_difference(tmp_path):
    write_classes(tmp_path / "train", ["ant", "bee"], 1)
    write_classes(tmp_path / "test", ["ant", "bees"], 1)
    with pytest.raises(ValueError, match=r"missing 'bee', unknown 'bees'"):
        Folder("test", path=str(tmp_path))
    write_classes(tmp_path / "test", ["bee"], 0)
    (tmp_path / "test" / "bees" / "00.png").unlink()
    (tmp_path / "test" / "bees").rmdir()
    assert len(Folder("test", path=str(tmp_path))) == 1  # an empty folder is enough


def test_wrong_layouts_say_what_was_found_and_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*/nowhere"):
        Folder("train", path=str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"has no class folders"):
        Folder("train", path=str(tmp_path))
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*: 1 class folders \('a'\)"):
        Folder("train", path=str(tmp_path))
    write_classes(tmp_path, ["b"], 2)
    with pytest.raises(ValueError, match=r"no images in .* for classes 'a'"):
        Folder("train", path=str(tmp_path))
    with pytest.raises(ValueError, match=r"unknown split 'tset'"):
        Folder("tset", path=str(tmp_path))
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has \['test'\] but no train folder"):
        Folder("train", path=str(tmp_path))


def test_a_split_that_is_nowhere_names_the_folders_and_the_option(tmp_path):
    write_classes(tmp_path / "train", ["a", "b"], 2)
    with pytest.raises(FileNotFoundError, match=r"no test split: .*\['train'\].*test_fraction"):
        Folder("test", path=str(tmp_path))
    write_classes(tmp_path / "val", ["a", "b"], 1)
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 asks for another one"):
        Folder("train", path=str(tmp_path), validation_fraction=0.1)


def test_whole_images_and_views_of_them_agree(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    image = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    (tmp_path / "a" / "0.png").write_bytes(file.getvalue())
    train = Folder("train", path=str(tmp_path))
    view = make_view("resize", 12)
    np.testing.assert_array_equal(view(train.encoded(0)[0], rng), train[0]["image"])
    assert Folder("train", path=str(tmp_path), channels=1)[0]["image"].shape == (12, 12, 1)
