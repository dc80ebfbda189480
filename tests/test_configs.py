"""Every config in configs/: it smokes, it is plain data, and it can describe itself."""

import json
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from cvjax import build
from cvjax.config import ConfigError, load, plain
from cvjax.train import dry_run, stages
from cvjax.vis.records import read_records

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
# Variants besides the default that take another path through the code.
VARIANTS = {
    "autoencoder_fashion_mnist": ["variant=scratch"],
    "pix2pix_scenes": ["use=masked", "use=low_resolution", "use=edges", "use=semantic"],
    "pixelcnn_digits": ["model=row_lstm", "model=made", "conditional"],
    "vae_digits": ["conditional"],
    "lenet_digits": ["variant=paper"],
    "localization_scenes": ["landmarks"],
    "features": ["hidden=16"],
    "resnet_cifar10": ["plain"],
    "retinanet_few_shot": ["variant=scratch,alone"],
    "stamps": [
        "tune=top,layer_decay=0.5",
        "variant=scratch,plain",
        "variant=frozen",
        "variant=early",
    ],
}
# What training logs beside the loss, by task; detectors log `box_loss`.
FIGURES = {
    "autoencoder": "squared_error",
    "autoregressive": "bits_per_dim",
    "classification": "accuracy",
    "cycle_gan": "cycle_loss",
    "gan": "generator_loss",
    "pix2pix": "generator_loss",
    "super_resolution": "content_loss",
    "vae": "bits_per_dim",
}
# One from stand-in data; the others smoke with the slow tests, and CI trains LeNet-5 in full.
QUICK = ("resnet_cifar10",)
SMOKES = [
    pytest.param(path, arg, marks=() if path.stem in QUICK and arg == "smoke" else pytest.mark.slow)
    for path in CONFIGS
    for arg in ("smoke", *(f"{variant},smoke" for variant in VARIANTS.get(path.stem, [])))
]


@pytest.fixture(autouse=True)
def _libraries_may_broadcast():
    """Whole runs go through libraries that promote ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(("path", "arg"), SMOKES, ids=lambda x: getattr(x, "stem", x))
def test_smoke_trains_evaluates_saves_and_reports(path, arg, tmp_path):
    experiments = build.experiments(load(f"{path}:{arg}"))
    outcome = stages.run(experiments, tmp_path)
    assert outcome.status == "finished"
    for stage, folder in stages.stage_folders(experiments, tmp_path).items():
        names = {name for record in read_records(folder / "metrics.jsonl") for name in record}
        figure = FIGURES.get(experiments[stage].config["task"]["name"], "box_loss")
        monitor = experiments[stage].train.monitor
        assert {"train/loss", f"train/{figure}", monitor or "train/loss"} <= names
        for written in ("config.json", "environment.json", "curves.png", "report.html"):
            assert (folder / written).stat().st_size > 0
        assert (folder / "samples" / "train_inputs.png").stat().st_size > 0
        assert (folder / "checkpoints" / str(outcome.step) / "seal.json").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_is_complete_plain_data(path):
    config = build.complete(load(str(path)))
    json.dumps(plain(config))
    assert json.dumps(plain(build.complete(config))) == json.dumps(plain(config))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_docstring_gives_the_command(path):
    text = path.read_text()
    assert f"--config {path.relative_to(ROOT)}" in text
    assert "http" in text or "et al." in text


def test_dry_run_of_missing_data_still_describes_the_run():
    config = load(str(ROOT / "configs/classification/cnn_fashion_mnist.py"))
    config.data.path = ("no such folder",)
    config.data.image_size, config.data.channels = 28, 1
    text = dry_run.describe(build.experiment(config, stand_in_data=True))
    assert "421,642 parameters" in text
    assert "data is missing" in text
    assert "apt-get install dataset-fashion-mnist" in text


def digits(**sections) -> ConfigDict:
    config = load(str(ROOT / "configs/classification/lenet_digits.py") + ":smoke")
    for section, fields in sections.items():
        for name, value in fields.items():
            config[section][name] = value
    return config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": {"momentun": 0.9}}, "optim.momentun: there is no such field"),
        ({"data": {"batchsize": 8}}, "Did you mean 'batch_size'?"),
        ({"train": {"keep": "two"}}, "train.keep='two' is not of type int"),
        ({"model": {"name": "lenet6"}}, "Did you mean 'lenet5'"),
        ({"model": {"num_classes": 11}}, "has 10 classes. Set model.num_classes=10"),
        ({"task": {"loss_name": "hing"}}, "expected one of softmax"),
        ({"data": {"name": "digit"}}, "Did you mean 'digits'?"),
        ({"data": {"path": "somewhere"}}, "reads no files"),
        ({"data": {"options": {"fraction": 0.1}}}, "data.options.fraction"),
        ({"data": {"augment": {"rotat": {}}}}, "rotat"),
        ({"train": {"steps": -1}}, "train.steps is -1"),
        ({"ema": {"decay": 1.5}}, "ema.decay is 1.5"),
    ],
)
def test_wrong_configs_are_refused_by_name(change, message):
    config = digits()
    for section, fields in change.items():
        if section not in config:
            config[section] = ConfigDict()
        for name, value in fields.items():
            with config.ignore_type():
                config[section][name] = value
    with pytest.raises(ConfigError) as caught:
        build.experiment(config)
    assert message in str(caught.value)


def test_unknown_option_behind_the_colon_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'depth'"):
        load(str(ROOT / "configs/classification/resnet_cifar10.py") + ":dept=20")


def test_missing_section_is_named():
    config = digits()
    del config.optim
    with pytest.raises(ConfigError, match="optim: the section is missing"):
        build.complete(config)
