"""Stamps: what belongs to which split, and pixels composited as by hand."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvjax import build
from cvjax.data.options import DataOptions
from cvjax.data.sources import stamps
from cvjax.data.sources.stamps import BACKGROUNDS, CLASSES, Stamps, composite, read_cut_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Class i has 10 + i cut-outs, half of them drawings, a mirror image and what is no stamp."""
    root = tmp_path_factory.mktemp("stamps")
    rng = np.random.default_rng(0)
    for label, place in enumerate(CLASSES.values()):
        (root / place / "cartoon").mkdir(parents=True)
        for number in range(10 + label):
            pixels = rng.integers(0, 256, (9 + number, 12, 4), dtype=np.uint8)
            pixels[2:6, 3:9, 3] = 255
            below = "cartoon/" if number % 2 else ""
            Image.fromarray(pixels).save(root / place / f"{below}{number}.png")
        Image.fromarray(pixels).save(root / place / "0_mirror.png")
        (root / place / "0.txt").write_text("A stamp.")
    return root


def files_of(source: Stamps) -> list[str]:
    return [source.describe(i).split(" on ")[0] for i in range(len(source))]


def test_every_cut_out_is_in_one_split_with_all_its_backgrounds(folder):
    options = dict(path=str(folder), image_size=16, validation_fraction=0.2)
    parts = {name: Stamps(name, **options) for name in ("train", "validation", "test")}
    files = {name: files_of(part) for name, part in parts.items()}
    sets = [set(names) for names in files.values()]
    everything = {str(p) for p in folder.rglob("*.png") if "mirror" not in p.name}
    assert set.union(*sets) == everything
    assert sum(map(len, sets)) == len(everything) == sum(range(10, 20))
    for name, part in parts.items():
        assert len(part) == 2 * len(set(files[name]))
        for index, file in enumerate(files[name]):  # the folder is the class
            assert f"/{list(CLASSES.values())[part.labels[index]]}/" in file
            assert part.describe(index).endswith(BACKGROUNDS[index % 2])


def test_every_class_gives_each_split_its_share(folder):
    options = dict(path=str(folder), image_size=8, backgrounds=("plain",))
    test = Stamps("test", test_fraction=0.25, seed=3, **options)
    assert list(np.bincount(test.labels)) == [int(n * 0.25 + 0.5) for n in range(10, 20)]


def test_split_and_pictures_depend_on_the_seed_alone(folder):
    options = dict(path=str(folder), image_size=16)
    one, same, other = (Stamps("train", seed=seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.images, same.images)
    assert files_of(one) != files_of(other)
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.images, one.images)


def test_a_picture_does_not_depend_on_the_split_it_falls_into(folder):
    options = dict(path=str(folder), image_size=16)
    few = Stamps("train", test_fraction=0.5, **options)
    many = Stamps("train", test_fraction=0.0, **options)
    pictures = {many.describe(i): many.images[i] for i in range(len(many))}
    for index in range(len(few)):
        np.testing.assert_array_equal(few.images[index], pictures[few.describe(index)])


def test_drawings_may_stay_out(folder):
    photographs = Stamps("train", path=str(folder), image_size=8, cartoons=False)
    assert not any("cartoon" in file for file in files_of(photographs))
    assert len(photographs) < len(Stamps("train", path=str(folder), image_size=8))


def test_compositing_matches_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    canvas = rng.uniform(0, 255, (9, 10, 3))
    alpha = rng.integers(0, 256, (4, 5, 1))
    colour = rng.integers(0, 256, (4, 5, 3)) * alpha // 255
    cut_out = np.concatenate([colour, alpha], axis=-1).astype(np.uint8)
    ours = composite(cut_out, canvas, top=3, left=2)
    for y in range(9):
        for x in range(10):
            value = canvas[y, x]
            if 3 <= y < 7 and 2 <= x < 7:
                share = alpha[y - 3, x - 2, 0] / 255
                value = value * (1 - share) + colour[y - 3, x - 2]
            np.testing.assert_array_equal(ours[y, x], np.floor(np.clip(value + 0.5, 0, 255)))


def test_a_cut_out_is_its_opaque_part_and_brings_no_hidden_colour(tmp_path):
    pixels = np.full((20, 30, 4), 255, np.uint8)  # white where nothing is seen
    pixels[..., 3] = 0
    pixels[5:9, 7:19] = (200, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "red.png")
    cut_out = read_cut_out(tmp_path / "red.png")
    assert cut_out.size == (12, 4)
    smaller = np.asarray(cut_out.resize((5, 3), Image.Resampling.BILINEAR))
    assert (smaller[..., 1:3] == 0).all()


def test_backgrounds_are_one_colour_and_many(folder):
    for name, kind in (("plain", stamps.plain), ("texture", stamps.texture)):
        canvas = kind(np.random.default_rng(0), 32)
        colours = len(np.unique(canvas.reshape(-1, 3).astype(int), axis=0))
        assert colours == 1 if name == "plain" else colours > 100
        assert canvas.min() >= 0
        assert canvas.max() <= 255


def test_what_is_missing_is_told_with_the_way_to_get_it(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(stamps, "FOLDERS", ("/no/such/folder",))
    with pytest.raises(FileNotFoundError, match=r"apt-get install .*tuxpaint-stamps-default"):
        Stamps("train")
    (tmp_path / "animals" / "birds").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no cut-outs of the class 'bird'"):
        Stamps("train", path=str(tmp_path))
    with pytest.raises(ValueError, match="choose one or more of"):
        Stamps("train", path=str(folder), backgrounds=("stripes",))


def test_config_reaches_the_source_with_path_and_size(folder):
    data = DataOptions(name="stamps", path=str(folder), image_size=24)
    source = build.source(data, "test")
    assert source.info.image_shape == (24, 24, 3)
    assert source.info.num_classes == 10


@pytest.mark.skipif(
    not any(Path(folder).is_dir() for folder in stamps.FOLDERS), reason="stamps not installed"
)
def test_the_installed_package_has_hundreds_of_cut_outs_in_ten_classes():
    train, test = (
        Stamps(name, image_size=16, backgrounds=("plain",)) for name in ("train", "test")
    )
    counts = np.bincount(np.concatenate([train.labels, test.labels]))
    assert len(counts) == 10
    assert counts.min() >= 15
    assert counts.sum() >= 300
