"""Pictures are drawn from the moving averages by the same keys, and land where people look."""

import dataclasses
import sys
from functools import partial
from pathlib import Path

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cvjax import build
from cvjax.config import ConfigError
from cvjax.evaluators.samples import Samples
from cvjax.train import loop
from cvjax.train.experiment import EmaOptions, Evaluation
from cvjax.vis.grids import image_grid

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from checkpoint_files import arrays_of, last_checkpoint
from tiny_run import tiny_experiment


@dataclasses.dataclass(frozen=True)
class Tinting:
    """Its only parameter is the grey that it paints noise and pictures with."""

    draws = ("sample", "ramp", "flat")
    shows = ("tint",)

    def check(self, info):
        pass

    def init(self, rng, batch):
        return {"params": {"grey": jnp.float32(0.0)}}

    def loss(self, variables, batch, rngs=None, *, ema=None):
        loss = jnp.square(variables["params"]["grey"] - 1.0)
        return loss, {"metrics": {"loss": loss}, "mutated": {}}

    def predict(self, variables, batch, rngs=None):
        return {}

    def metrics(self):
        return clu.metrics.Collection.create()

    def sample(self, variables, key, count):
        noise = jax.random.uniform(key, (count, 4, 4, 1))
        return {"image": variables["params"]["grey"] * noise, "label": jnp.arange(count)}

    def ramp(self, variables, key, count):
        rows = jnp.linspace(0.0, 1.0, count)[:, None, None, None, None]
        return {"image": jnp.broadcast_to(rows, (count, 3, 4, 4, 1))}

    def flat(self, variables, key, count):
        return {"image": jnp.zeros((count, 4))}

    def tint(self, variables, key, batch):
        return {"image": variables["params"]["grey"] * batch["image"]}


VARIABLES = {"params": {"grey": jnp.float32(0.5)}}


def halved(batch):
    return {**batch, "image": batch["image"].astype(jnp.float32) / 2}


def drawn(**options):
    ramp = np.arange(6, dtype=np.uint8)[:, None, None, None]
    valid = np.array([True, True, True, True, False, False])
    batch = {"image": np.broadcast_to(ramp, (6, 4, 4, 1)), "valid": valid}
    return Samples(Tinting(), halved, **options).run(VARIABLES, [batch]).pictures


def test_the_same_key_draws_the_same_pictures_and_another_seed_others():
    first, again, other = drawn(count=3), drawn(count=3), drawn(count=3, seed=1)
    expected = 0.5 * jax.random.uniform(jax.random.key(0), (3, 4, 4, 1))
    np.testing.assert_allclose(first["image"], expected, rtol=1e-6)
    np.testing.assert_array_equal(first["image"], again["image"])
    assert np.abs(first["image"] - other["image"]).max() > 0.1


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (6, 4)])
def test_what_is_shown_is_the_splits_first_examples_preprocessed_without_padding(count, shown):
    image = drawn(draw="tint", count=count)["image"]
    np.testing.assert_allclose(image[:, 0, 0, 0], np.arange(shown) / 4)


def test_unknown_draws_and_what_is_no_picture_are_refused():
    with pytest.raises(ValueError, match="draw='smile': this task has sample, ramp, flat, tint"):
        Samples(Tinting(), halved, draw="smile")
    evaluator = Samples(Tinting(), halved, draw="flat")
    for ask in (evaluator.run, evaluator.scalar_names):
        with pytest.raises(ValueError, match=r"not \(36, 4\)"):
            ask(VARIABLES, [{}] if ask == evaluator.run else {})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"draw": "sample"}, "this task draws nothing"), ({"kount": 3}, "Did you mean 'count'")],
)
def test_configs_are_refused_before_training(options, message):
    entry = {"split": "test", "evaluator": "samples", "options": options}
    with pytest.raises(ConfigError, match=message):
        tiny_experiment({"evals": {"drawn": entry}})


def test_a_run_draws_from_the_averages_into_its_samples_and_its_events(tmp_path, monkeypatch):
    # The report shows whatever lies in samples/, and has tests of its own.
    monkeypatch.setattr("cvjax.vis.curves.plot_curves", lambda *_: None)
    monkeypatch.setattr("cvjax.vis.report.write_report", lambda *_: None)
    assert build.OF_TASK["samples"] is Samples
    source = tiny_experiment().train_source
    evals = {
        "drawn": Evaluation(source, 2, of_task=partial(Samples, count=4)),
        "ramps": Evaluation(source, 4, of_task=partial(Samples, draw="ramp", count=2)),
    }
    changes = {
        "train": {"steps": 4, "early_stop": None, "monitor": "", "tensorboard": True},
        "optim": {"schedule": {"name": "constant"}},
    }
    parts = {"task": Tinting(), "evals": evals, "ema": EmaOptions(0.5, warmup=False)}
    experiment = tiny_experiment(changes, **parts)
    loop.run(experiment, tmp_path)

    state = arrays_of(last_checkpoint(tmp_path))
    (grey,) = (v for k, v in state.items() if "ema" in k and "grey" in k)
    (live,) = (v for k, v in state.items() if "grey" in k and k.startswith((".params", "['params")))
    assert 0 < grey < live
    noise = jax.random.uniform(jax.random.key(0), (4, 4, 4, 1))
    captions = ["0", "1", "2", "3"]
    expected = image_grid(np.asarray(np.float32(grey) * noise), captions=captions)
    found = np.asarray(Image.open(tmp_path / "samples" / "drawn_step_4.png").convert("RGB"))
    assert np.abs(found.astype(int) - expected).max() <= 1
    ramps = np.asarray(Image.open(tmp_path / "samples" / "ramps_step_4.png"))
    assert ramps.shape[1] > ramps.shape[0]  # two rows of three
    written = {path.name for path in (tmp_path / "samples").iterdir()}
    assert written >= {"drawn_step_2.png", "drawn_step_4.png", "ramps_step_4.png"}
    assert not (tmp_path / "evals").exists()
    events = b"".join(p.read_bytes() for p in (tmp_path / "events").iterdir())
    assert events.count(b"drawn") >= 2
    (tmp_path / "samples" / "drawn_step_4.png").unlink()
    loop.evaluate(experiment, tmp_path, checkpoint="latest")
    assert (tmp_path / "samples" / "drawn_step_4.png").exists()
