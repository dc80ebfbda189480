"""Cached features: those of the network itself, kept once, and never those of something else."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from PIL import Image

import cvjax.models
from cvjax import build
from cvjax.config import ConfigError, plain
from cvjax.data.sources import features as module
from cvjax.data.sources.features import MANIFEST, Features, examples_digest
from cvjax.data.sources.folder import Folder
from cvjax.train import dry_run


class Ink(nn.Module):
    """Pooled features are the mean ink of each column times a fixed, random weight."""

    num_classes: int | None

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool):
        columns = image.mean(axis=(1, 3))
        scale = self.param("scale", nn.initializers.normal(), columns.shape[-1:])
        head = nn.Dense(self.num_classes, name="head")
        return head(columns), {"pooled": columns * scale}


@pytest.fixture(autouse=True)
def _ink():
    cvjax.models.create("linear", num_classes=2)  # the table is made at the first question
    cvjax.models._variants()["ink"] = (Ink, {})
    with jax.numpy_rank_promotion("allow"):  # whole runs go through libraries that promote ranks
        yield
    del cvjax.models._variants()["ink"]


def config_of(cache, **changes) -> ConfigDict:
    data = {
        "name": "digits",
        "batch_size": 128,
        "mean": 0.5,
        "std": 0.25,
        "features": {"model": {"name": "ink"}, "cache": str(cache)},
    }
    return ConfigDict(
        {
            "model": {"name": "linear"},
            "task": {"name": "classification"},
            "data": data | changes,
            "optim": {"lr": 0.1},
            "evals": {"test": {"split": "test"}},
            "train": {"steps": 2},
        }
    )


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The sources whose features were computed, not read."""
    seen, write = [], Features._write

    def noted(self, *rows):
        seen.append(self.source.info.name)
        write(self, *rows)

    monkeypatch.setattr(Features, "_write", noted)
    return seen


def test_features_are_those_of_the_network_on_each_normalised_image(tmp_path):
    found = build.experiment(config_of(tmp_path))
    images = build.experiment(config_of(tmp_path, features=None)).train_source
    key, _ = jax.random.split(jax.random.key(0))
    scale = Ink(10).init(key, np.zeros((1, 8, 8, 1)), train=False)["params"]["scale"]
    rows = found.train_source.batch(np.array([5, 0, 1400, 5]))
    for row, label, index in zip(rows["image"], rows["label"], (5, 0, 1400, 5)):
        example = images[index]
        pixels = (example["image"][..., 0] / 255 - 0.5) / 0.25
        np.testing.assert_allclose(row, pixels.mean(axis=0)[None, None] * scale, atol=1e-5)
        assert label == example["label"]
    # What the model is given is what was kept: no second normalisation.
    seen = found.eval_transform({"image": rows["image"]})["image"]
    np.testing.assert_array_equal(seen, rows["image"])


def test_a_second_run_reads_what_the_first_kept_and_another_network_computes(tmp_path, computed):
    def rows(**changes):
        source = build.experiment(config_of(tmp_path, **changes)).train_source
        return source.batch(np.arange(len(source)))["image"], source.folder

    first, folder = rows()
    again, same_folder = rows()
    assert computed == ["digits[train]"]
    assert folder == same_folder
    np.testing.assert_array_equal(first, again)
    other_seed = {"model": {"name": "ink"}, "cache": str(tmp_path), "seed": 1}
    for changes in ({"features": other_seed}, {"std": 0.5}, {"options": {"seed": 3}}):
        others, elsewhere = rows(**changes)
        assert elsewhere != folder, changes
        assert not np.array_equal(others, first), changes
    assert len(computed) == 4


@pytest.mark.parametrize("damage", ["features", "manifest", "cut", "swapped"])
def test_damaged_or_foreign_files_are_computed_again(tmp_path, computed, damage):
    source = build.experiment(config_of(tmp_path)).evals["test"].source
    good = source.batch(np.arange(len(source)))["image"]
    folder = source.folder
    if damage == "features":
        rows = np.load(folder / "features.npy")
        rows[7, 3] += 1e-3
        np.save(folder / "features.npy", rows)
    elif damage == "cut":
        (folder / "features.npy").write_bytes((folder / "features.npy").read_bytes()[:-40])
    elif damage == "swapped":
        np.save(folder / "labels.npy", np.roll(np.load(folder / "labels.npy"), 1))
    else:  # as if a folder of other features had been renamed
        kept = json.loads((folder / MANIFEST).read_text())
        kept["made_by"]["seed"] = 5
        (folder / MANIFEST).write_text(json.dumps(kept))
    again = build.experiment(config_of(tmp_path)).evals["test"].source
    np.testing.assert_array_equal(again.batch(np.arange(len(again)))["image"], good)
    assert len(computed) == 2


def test_nothing_is_computed_before_an_example_is_asked_for(tmp_path, computed):
    experiment = build.experiment(config_of(tmp_path))
    assert "90 parameters" in dry_run.describe(experiment)  # 8 features, 10 classes
    assert computed == []
    assert list(tmp_path.iterdir()) == []
    assert experiment.train_source[3]["image"].shape == experiment.train_source.info.image_shape


def test_a_changed_file_has_another_digest(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"one")
    source = Folder("train", path=str(tmp_path))
    before = examples_digest(source)
    assert examples_digest(Folder("train", path=str(tmp_path))) == before
    (tmp_path / "b" / "1.png").write_bytes(b"other")
    assert examples_digest(source) != before


def test_files_are_decoded_and_resized_as_evaluation_does(tmp_path, computed):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        (tmp_path / "images" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "images" / "ab"[number % 2] / f"{number}.png")
    where = {"name": "folder", "path": str(tmp_path / "images"), "image_size": 8, "batch_size": 2}
    options = {"options": {"test_fraction": 0.3}}
    source = build.experiment(config_of(tmp_path / "cache", **where, **options)).train_source
    network = build.experiment(config_of(tmp_path, **where, **options, features=None))
    rows = source.batch(np.arange(len(source)))
    assert [int(label) for label in rows["label"]] == [0, 0, 1, 1]
    key, _ = jax.random.split(jax.random.key(0))
    scale = Ink(2).init(key, np.zeros((1, 8, 8, 3)), train=False)["params"]["scale"]
    for row, index in zip(rows["image"], range(4)):
        picture = network.train_source[index]["image"] / 255
        columns = ((picture - 0.5) / 0.25).mean(axis=(0, 2))
        np.testing.assert_allclose(row[0, 0], columns * np.asarray(scale), atol=1e-5)


def test_features_cannot_be_kept_where_nobody_may_write_and_training_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    module.log.propagate = True
    source = build.experiment(config_of(tmp_path / "file")).evals["test"].source
    assert source[0]["image"].shape == (1, 1, 8)
    assert "not kept" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": {"horizontal_flip": {}}}, "data.augment is set"),
        ({"on_bad_example": "skip"}, "need every example"),
        ({"features": {"model": {"name": "inc"}}}, "data.features: .*ink"),
        ({"features": {"model": {"name": "ink"}, "cach": ""}}, "data.features.cach"),
    ],
)
def test_what_features_cannot_do_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build.experiment(config_of(tmp_path, **changes))


def test_the_features_section_is_plain_data_in_the_record(tmp_path):
    record = build.experiment(config_of(tmp_path)).config
    assert json.loads(json.dumps(record))["data"]["features"]["model"] == {"name": "ink"}
    assert plain(record) == record
