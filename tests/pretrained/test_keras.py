"""Keras' h5 files and VGG-16's weights in them; thin_vgg16.h5 and its logits are Keras 3's.

See tests/golden/state_dicts/make_keras.py.
"""

import json
import sys
from pathlib import Path

import h5py
import jax
import named_weights
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, load_state_dict, to_torch

FIXTURES = Path(__file__).parents[1] / "golden" / "state_dicts"
THIN = {"width": 1, "hidden": 3}


def test_logits_agree_with_keras():
    state = load_state_dict(FIXTURES / "thin_vgg16.h5")
    variables = from_torch("vgg16", state, "keras", num_classes=5, **THIN)
    model = create("vgg16", num_classes=5, **THIN)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False)[0])
    image = named_weights.image([2, 3, 224, 224])
    want = np.load(FIXTURES / "thin_vgg16_logits.npz")["logits"]
    np.testing.assert_allclose(apply(variables, image), want, rtol=0, atol=1e-4 * want.std())
    back = to_torch("vgg16", variables, "keras", num_classes=5, **THIN)
    assert sorted(back) == sorted(state)
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


@pytest.mark.slow
def test_resnet50_agrees_with_keras():
    golden = dict(np.load(FIXTURES / "keras_resnet50.npz"))
    spec = json.loads(str(golden.pop("spec")))
    state = {name: named_weights.keras_tensor(name, shape) for name, shape in spec["state"]}
    variables = from_torch("resnet50_v1", state, "keras")
    # Keras counts the running statistics, too.
    assert sum(x.size for x in jax.tree.leaves(variables)) == spec["parameters"] == 25_636_712
    model = create("resnet50_v1", num_classes=1000)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    logits, features = apply(variables, named_weights.image(spec["image"]))
    found = {
        "logits": logits,
        **{k: x[:, ::2, ::2, ::64] for k, x in features.items() if x.ndim > 2},
    }
    assert set(golden) == set(found) - {"stride2"}
    for name, want in golden.items():
        np.testing.assert_allclose(found[name], want, rtol=0, atol=1e-4 * want.std(), err_msg=name)
    back = to_torch("resnet50_v1", variables, "keras")
    assert sorted(back) == sorted(state)
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_without_top_is_a_backbone():
    state = load_state_dict(FIXTURES / "thin_vgg16.h5")
    tops = ("fc", "pred")
    bottom = {name: x for name, x in state.items() if not name.startswith(tops)}
    fields = {"num_classes": None, "hidden": None, "width": 1}
    variables = from_torch("vgg16", bottom, "keras", **fields)
    assert len(variables["params"]) == 13
    with pytest.raises(ValueError, match=r"missing: fc1/bias, which params/hidden1/bias asks for"):
        from_torch("vgg16", bottom, "keras", num_classes=None, **THIN)


def test_published_files_names_are_read(tmp_path):
    """keras.applications' own VGG-16 file says W and b; later ones say kernel and bias."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"input_1", b"block1_conv1", b"bn_conv1", b"fc"]
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0, "S1")
        weights = {
            "block1_conv1": ["block1_conv1_W_1:0", "block1_conv1_b_1:0"],
            "bn_conv1": [
                f"bn_conv1_{w}:0" for w in ("gamma", "beta", "running_mean", "running_std")
            ],
            "fc": ["fc/kernel:0", "fc/bias:0"],
        }
        for layer, names in weights.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for i, name in enumerate(names):
                group[name] = np.full(2, i, np.float32)
    assert {name: int(x[0]) for name, x in load_state_dict(tmp_path / "x.h5").items()} == {
        "block1_conv1/kernel": 0, "block1_conv1/bias": 1, "bn_conv1/gamma": 0, "bn_conv1/beta": 1,
        "bn_conv1/moving_mean": 2, "bn_conv1/moving_variance": 3, "fc/kernel": 0, "fc/bias": 1,
    }  # fmt: skip


def test_whole_models_of_keras_2_are_read_too(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = ["fc"]
        root.create_group("fc").attrs["weight_names"] = ["fc/kernel:0"]
        root["fc"]["fc/kernel:0"] = np.ones(3)
    np.testing.assert_array_equal(load_state_dict(tmp_path / "x.h5")["fc/kernel"], np.ones(3))


def test_what_is_not_understood_is_an_error(tmp_path):
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file.create_group("layers")
    with pytest.raises(ValueError, match=r"new\.h5: no legacy Keras weights"):
        load_state_dict(tmp_path / "new.h5")
    data = (FIXTURES / "thin_vgg16.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.h5: damaged or cut short"):
        load_state_dict(tmp_path / "cut.h5")


def test_h5_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'cvjax\[keras\]'"):
        load_state_dict(FIXTURES / "thin_vgg16.h5")


def test_models_that_keras_has_differently_are_refused():
    with pytest.raises(ValueError, match=r"'keras' has no weights for 'resnet50' .*torchvision"):
        from_torch("resnet50", {}, "keras")
