"""from_torch and to_torch: strict, lossless, and everything that does not fit in one error."""

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch
from cvjax.pretrained.layouts import dense_after_flatten, natural

SMALL = {"width": 4, "stage_sizes": (1, 1, 1, 1)}


@pytest.fixture(scope="module")
def variables() -> dict:
    """Of a thin ResNet with 10 classes; random bits, subnormals, infinities and all."""
    model = create("resnet50", num_classes=10, **SMALL)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32), train=False)
    )
    rng = np.random.default_rng(0)

    def bits(leaf):
        return rng.integers(0, 2**32, leaf.shape, np.uint32).view(np.float32)

    return jax.tree.map(bits, shapes)


@pytest.fixture(scope="module")
def state(variables) -> dict[str, np.ndarray]:
    return to_torch("resnet50", variables, num_classes=10, **SMALL)


def test_there_and_back_is_the_same_to_the_bit(variables, state):
    back = from_torch("resnet50", state, num_classes=10, **SMALL)
    flat = traverse_util.flatten_dict(variables, sep="/")
    found = traverse_util.flatten_dict(back, sep="/")
    assert sorted(found) == sorted(flat)
    for path, value in flat.items():
        assert found[path].dtype == np.float32
        assert found[path].flags.c_contiguous
        np.testing.assert_array_equal(found[path].view(np.uint32), value.view(np.uint32), path)


def test_arrays_lie_as_torch_has_them(variables, state):
    kernel = variables["params"]["stage1_block1"]["conv2"]["kernel"]  # [h, w, in, out]
    weight = state["layer1.0.conv2.weight"]  # [out, in, h, w]
    assert weight.shape == (4, 4, 3, 3)
    assert weight[3, 1, 0, 2].view(np.uint32) == kernel[0, 2, 1, 3].view(np.uint32)
    head = variables["params"]["head"]["kernel"]
    assert state["fc.weight"][7, 5].view(np.uint32) == head[5, 7].view(np.uint32)
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    assert len(counters) == sum(name.endswith("running_mean") for name in state) > 0
    assert all(state[name].dtype == np.int64 and state[name].shape == () for name in counters)


def test_everything_that_does_not_fit_is_one_error(state):
    spoilt = dict(state)
    del spoilt["layer1.0.conv2.weight"], spoilt["bn1.running_var"]
    spoilt["layer9.weight"] = spoilt["extra"] = np.ones(1, np.float32)
    spoilt["conv1.weight"] = spoilt["conv1.weight"][:, :1]
    spoilt["layer2.0.bn1.bias"] = spoilt["layer2.0.bn1.bias"].astype(np.float64)
    spoilt["layer2.0.bn2.bias"] = np.zeros(8, np.int32)
    with pytest.raises(ValueError) as caught:
        from_torch("resnet50", spoilt, num_classes=10, **SMALL)
    assert str(caught.value).splitlines() == [
        "these tensors are not torchvision's resnet50 with num_classes=10:",
        "  missing: bn1.running_var, which batch_stats/stem_norm/var asks for",
        "  missing: layer1.0.conv2.weight, which params/stage1_block1/conv2/kernel asks for",
        "  unexpected: layer9.weight",
        "  unexpected: extra",
        "  misshapen: conv1.weight is (4, 1, 7, 7), expected (4, 3, 7, 7)",
        "  mistyped: layer2.0.bn1.bias is float64, expected float32 or narrower",
        "  mistyped: layer2.0.bn2.bias is int32, expected float32 or narrower",
    ]


def test_another_networks_tensors_show_some_of_every_kind_of_misfit(state):
    other = {f"trunk.{name}": x for name, x in state.items()}
    with pytest.raises(ValueError, match=r"missing: layer1.0(.|\n)*unexpected: trunk.layer1") as e:
        from_torch("resnet50", other, num_classes=10, **SMALL)
    assert "more missing" in str(e.value)
    assert "more unexpected" in str(e.value)
    assert len(str(e.value).splitlines()) < 25


def test_other_number_of_classes_is_named(state):
    with pytest.raises(
        ValueError, match=r"fc.weight is \(10, 128\), expected \(7, 128\)"
    ) as caught:
        from_torch("resnet50", state, num_classes=7, **SMALL)
    assert "They have 10 classes; num_classes=None drops the head." in str(caught.value)


def test_num_classes_none_drops_the_head_and_nothing_else(variables, state):
    found = from_torch("resnet50", state, num_classes=None, **SMALL)
    assert set(found["params"]) == set(variables["params"]) - {"head"}
    headless = {name: x for name, x in state.items() if not name.startswith("fc.")}
    again = from_torch("resnet50", headless, num_classes=None, **SMALL)
    assert jax.tree.structure(again) == jax.tree.structure(found)
    with pytest.raises(ValueError, match=r"unexpected: fc2\.weight"):
        from_torch("resnet50", {**state, "fc2.weight": np.ones(1, "f4")}, num_classes=None, **SMALL)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened_exactly(state, kind):
    with np.errstate(all="ignore"):
        half = {n: x.astype(kind) if x.dtype == np.float32 else x for n, x in state.items()}
    found = from_torch("resnet50", half, num_classes=10, **SMALL)
    back = to_torch("resnet50", found, num_classes=10, **SMALL)
    for name, value in half.items():
        np.testing.assert_array_equal(back[name], value.astype(back[name].dtype), err_msg=name)


def test_what_is_given_is_not_changed(state):
    before = {name: x.copy() for name, x in state.items()}
    found = from_torch("resnet50", state, num_classes=10, **SMALL)
    for leaf in jax.tree.leaves(found):
        if leaf.flags.writeable and leaf.base is None:
            leaf[...] = 0
    for name, value in before.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


def test_unknown_model_and_source_say_what_there_is(state):
    with pytest.raises(ValueError, match="no model is called 'resnet51'"):
        from_torch("resnet51", state)
    with pytest.raises(
        ValueError, match=r"'caffe' has no weights for 'resnet50'.*torchvision, timm"
    ):
        from_torch("resnet50", state, "caffe")
    with pytest.raises(ValueError, match="no weights of other libraries are known for 'lenet5'"):
        from_torch("lenet5", state)


def test_variables_that_do_not_fit_are_named(variables):
    flat = traverse_util.flatten_dict(variables)
    del flat[("params", "stem_norm", "bias")]
    flat[("params", "neck", "kernel")] = np.ones(1)
    flat[("params", "head", "bias")] = np.ones(11)
    with pytest.raises(ValueError) as caught:
        to_torch("resnet50", traverse_util.unflatten_dict(flat), num_classes=10, **SMALL)
    assert str(caught.value).splitlines() == [
        "these are no variables of resnet50 with num_classes=10:",
        "  missing: params/stem_norm/bias",
        "  unexpected: params/neck/kernel",
        "  misshapen: params/head/bias is (11,), expected (10,)",
    ]


def test_layouts_undo_each_other_and_follow_the_flattened_map():
    x = np.arange(5 * 3 * 2 * 4, dtype=np.float32)
    kernel = x.reshape(2, 4, 3, 5)
    layout = natural("kernel", 4)
    assert layout.to_torch(kernel).shape == (5, 3, 2, 4)
    np.testing.assert_array_equal(layout.to_ours(layout.to_torch(kernel)), kernel)
    # a dense layer after a [2, 4] map of 3 channels: the products are the same in either order
    dense = dense_after_flatten(2, 4)
    ours = x.reshape(24, 5)
    image = np.random.default_rng(0).normal(size=(2, 4, 3))
    theirs = dense.to_torch(ours)  # [out, C * H * W]
    np.testing.assert_allclose(theirs @ image.transpose(2, 0, 1).ravel(), image.ravel() @ ours)
    np.testing.assert_array_equal(dense.to_ours(theirs), ours)
