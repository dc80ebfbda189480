"""Judged samples, mode coverage and latent arithmetic, with tasks whose samples are known."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import build
from cvjax.build.judge import judge_of
from cvjax.config import ConfigError
from cvjax.data.source import SourceInfo
from cvjax.evaluators.generated import CLASS_SCALARS, FEATURE_SCALARS, Generated, Judge
from cvjax.evaluators.latent_arithmetic import LatentArithmetic
from cvjax.evaluators.mode_coverage import ModeCoverage
from cvjax.metrics import generation


def same(batch):
    return batch


@dataclasses.dataclass(frozen=True)
class Painter:
    """Makes pictures of 2x2 pixels whose first is the class, of six pairs of latent values."""

    prior = "normal"
    model = SimpleNamespace(latent_dim=4)

    def sample(self, variables, key, count):
        return self.generate(variables, jax.random.normal(key, (count, 4)))

    def generate(self, variables, latent):
        image = latent.reshape(-1, 2, 2, 1) * variables["scale"]
        return {"image": image}


def look(variables, image):
    flat = image.reshape(len(image), -1) + variables["shift"]
    return {"features": flat[:, :3], "logits": 4 * flat[:, :3]}


JUDGE = Judge("by hand", {"shift": np.float32(0.1)}, look, names_classes=True)
VARIABLES = {"scale": jnp.float32(1.0)}


def real_batches(count=100, size=32):
    """The last batch is padded by what would spoil every figure."""
    images = np.random.default_rng(0).standard_normal((count, 2, 2, 1)).astype(np.float32)
    for start in range(0, count, size):
        batch = np.full((size, 2, 2, 1), 1e6, np.float32)
        part = images[start : start + size]
        batch[: len(part)] = part
        yield {"image": batch, "valid": np.arange(size) < len(part)}


def generated(**options) -> Generated:
    fields = {"count": 70, "batch_size": 32, "real_count": 100, "subset_size": 40}
    return Generated(Painter(), same, JUDGE, **{**fields, **options})


def test_figures_are_those_of_the_judges_features_of_both_sets():
    evaluator = generated()
    found = evaluator.run(VARIABLES, real_batches())
    made = evaluator.drawn(VARIABLES)
    images = np.concatenate([b["image"][b["valid"]] for b in real_batches()])
    real = np.asarray(look({"shift": 0.1}, images)["features"], np.float64)
    fake = np.asarray(look({"shift": 0.1}, made["image"])["features"], np.float64)
    assert len(fake) == found.num_examples == 70
    assert found.scalars["frechet_distance"] == pytest.approx(
        generation.frechet_distance(
            generation.fitted_gaussian(real), generation.fitted_gaussian(fake)
        ),
        rel=1e-4,
    )
    assert found.scalars["coverage"] == generation.manifold_figures(real, fake).coverage
    assert found.scalars["confidence"] == pytest.approx(
        generation.class_figures(4 * np.asarray(made["features"])).confidence, rel=1e-5
    )
    assert set(found.scalars) == {*FEATURE_SCALARS, *CLASS_SCALARS}
    assert found.scalars["smallest_class"] == found.arrays["class_shares"].min()


def test_samples_are_drawn_by_the_seed_and_differ_between_batches():
    one, again, other = (generated(seed=s).drawn(VARIABLES)["image"] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.unique(np.concatenate([one, other]).round(5)).size == 2 * one.size


def test_only_so_many_real_examples_are_looked_at():
    few = generated(real_count=40).run(VARIABLES, real_batches())
    same_few = generated().run(VARIABLES, real_batches(count=40))
    assert few.scalars == pytest.approx(same_few.scalars)


def test_pictures_are_sorted_by_the_class_that_they_are_named():
    found = generated().run(VARIABLES, real_batches()).pictures["image"]
    assert found.shape == (3, 10, 2, 2, 1)
    for label, row in enumerate(found):
        named = look({"shift": 0.1}, row)["logits"].argmax(axis=1)
        assert (np.asarray(named) == label).all()


def test_a_judge_of_other_classes_says_nothing_of_classes():
    judge = dataclasses.replace(JUDGE, names_classes=False)
    evaluator = Generated(Painter(), same, judge, count=20, real_count=20, batch_size=20)
    found = evaluator.run(VARIABLES, real_batches())
    batch = next(real_batches())
    assert tuple(found.scalars) == evaluator.scalar_names(VARIABLES, batch) == FEATURE_SCALARS
    assert found.pictures == found.arrays == {}


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match=r"count=0.*(?s:.)*neighbours=5 needs more pictures"):
        generated(count=0)


@dataclasses.dataclass(frozen=True)
class Dots:
    """Points at two of three modes, and a quarter of them far from all."""

    draws = ("sample",)

    def sample(self, variables, key, count):
        del variables, key
        places = jnp.array([[0.2, 0.2], [0.8, 0.2], [0.2, 0.21], [0.5, 0.5]])
        return {"image": places[jnp.arange(count) % 4].reshape(-1, 1, 1, 2)}


def dots(count=60):
    rng = np.random.default_rng(0)
    label = np.arange(count) % 3
    centres = np.array([[0.2, 0.2], [0.8, 0.2], [0.2, 0.8]])
    points = centres[label] + 0.01 * rng.standard_normal((count, 2))
    image = points.reshape(-1, 1, 1, 2).astype(np.float32)
    yield {"image": image, "label": label, "valid": np.ones(count, bool)}


def test_modes_are_found_from_the_data_and_counted():
    evaluator = ModeCoverage(Dots(), same, count=40)
    found = evaluator.run({}, dots())
    assert found.scalars == {"modes": 2, "high_quality": pytest.approx(0.75), "smallest_share": 0}
    np.testing.assert_array_equal(found.arrays["counts"], [20, 10, 0])
    assert found.pictures["image"].shape == (100, 1, 1, 2)
    np.testing.assert_array_equal(found.pictures["label"], [-1] * 60 + [0] * 40)
    assert tuple(found.scalars) == evaluator.scalar_names({}, next(dots()))


def test_mode_coverage_wants_points():
    batch = {"image": np.zeros((2, 8, 8, 1)), "label": np.zeros(2, int)}
    with pytest.raises(ValueError, match="looks at points"):
        ModeCoverage(Dots(), same).scalar_names({}, batch)
    with pytest.raises(ValueError, match="reach=0"):
        ModeCoverage(Dots(), same, reach=0)


def test_latent_arithmetic_adds_averages_of_the_surest_examples():
    evaluator = LatentArithmetic(Painter(), same, JUDGE, plus=(0, 2), minus=(1,), candidates=50)
    found = evaluator.run(VARIABLES, ())
    image = found.pictures["image"]
    assert image.shape == (4, 4, 2, 2, 1)
    latent = image.reshape(4, 4, 4)  # the painter's pictures are its latent vectors
    np.testing.assert_allclose(latent[:3, 3], latent[:3, :3].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(latent[3, 0], latent[0, 3] + latent[1, 3] - latent[2, 3], atol=1e-6)
    assert 0 < np.abs(latent[3, 1:] - latent[3, :1]).max() <= 0.25
    assert found.arrays["class_shares"][1] == 0
    with pytest.raises(ValueError, match=r"classes \[3\] do not exist"):
        LatentArithmetic(Painter(), same, JUDGE, plus=(3,)).scalar_names(VARIABLES, {})


def test_great_values_of_bytes_are_brought_to_the_unit_interval():
    evaluator = generated(real_count=10, neighbours=2)
    batch = {"image": np.full((10, 2, 2, 1), 255, np.uint8)}
    seen = evaluator._look({"shift": 0.0}, batch)["features"]
    np.testing.assert_allclose(seen, 1.0)


INFO = SourceInfo("some[test]", (), 10, (28, 28, 1))


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("", "name a classifier's workdir"),
        ("no/such/folder", "no workdir of a run"),
        ("fetch:efficientnet_lite9", "Did you mean 'efficientnet_lite0'"),
    ],
)
def test_a_judge_that_is_none_is_told(origin, message):
    with pytest.raises(ConfigError, match=message):
        judge_of(origin, "evals.test.options.judge", INFO, build.experiment)


def test_a_workdirs_best_checkpoint_becomes_the_judge(tmp_path, monkeypatch):
    """A run of the tiniest classifier; the judge says what its task says."""
    from ml_collections import ConfigDict

    from cvjax.train import loop

    monkeypatch.setattr("cvjax.vis.curves.plot_curves", lambda *_: None)  # takes seconds
    monkeypatch.setattr("cvjax.vis.report.write_report", lambda *_: None)
    config = ConfigDict(
        {
            "model": {"name": "linear"},
            "task": {"name": "classification"},
            "data": {"name": "digits", "batch_size": 64, "mean": 0.3, "std": 0.4},
            "optim": {"name": "sgd", "lr": 0.1},
            "evals": {"test": {"split": "test", "every": 5}},
            "train": {"steps": 5, "tensorboard": False},
        }
    )
    experiment = build.experiment(config)
    with jax.numpy_rank_promotion("allow"):
        outcome = loop.run(experiment, tmp_path / "run")
        info = experiment.train_source.info
        judge = judge_of(str(tmp_path / "run"), "judge", info, build.experiment)
        source = experiment.evals["test"].source
        images = source.images[:200].astype(np.float32) / 255
        seen = jax.jit(judge.look)(judge.variables, images)
    assert judge.names_classes
    whole = np.asarray(seen["logits"]).argmax(axis=1) == source.labels[:200]
    assert abs(whole.mean() - outcome.figures["test/accuracy"]) < 0.1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["name"] == "linear"
    with pytest.raises(ConfigError, match=r"looks at images of \(8, 8, 1\)"):
        judge_of(str(tmp_path / "run"), "judge", INFO, build.experiment)
