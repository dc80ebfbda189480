import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.ops.conv import Sliding, receptive_field


def layer_sizes(name, size=224, **fields):
    model = create(name, **{"num_classes": 1000, **fields})
    image = jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in variables["params"].items()}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg11", 132_863_336),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("vgg16_c", 133_638_952),
        ("vgg19", 143_667_240),
        ("vgg11_bn", 132_868_840),
        ("vgg13_bn", 133_053_736),
        ("vgg16_bn", 138_365_992),
        ("vgg19_bn", 143_678_248),
    ],
)
def test_parameters_are_torchvisions(name, parameters):
    assert sum(layer_sizes(name).values()) == parameters


def test_dense_layers_hold_most_of_vgg16():
    sizes = layer_sizes("vgg16")
    dense = {k: sizes.pop(k) for k in ("hidden1", "hidden2", "head")}
    assert dense == {"hidden1": 102_764_544, "hidden2": 16_781_312, "head": 4_097_000}
    assert sum(dense.values()) == 123_642_856
    assert sum(sizes.values()) == 14_714_688


def test_convolutions_alone_are_14714688():
    assert sum(layer_sizes("vgg16", num_classes=None, hidden=None).values()) == 14_714_688


def test_fine_tuning_block5_trains_7079424_of_the_base():
    sizes = layer_sizes("vgg16", num_classes=None, hidden=None)
    last = [n for k, n in sizes.items() if k.startswith("stage5")]
    assert last == [2_359_808] * 3
    assert sum(last) == 7_079_424
    assert sum(sizes.values()) - sum(last) == 7_635_264


@pytest.mark.parametrize("size", [32, 65, 224])
def test_parameters_do_not_depend_on_the_image_size(size):
    assert layer_sizes("vgg11", size) == layer_sizes("vgg11")


def test_column_c_ends_its_stages_of_three_with_1x1():
    model = create("vgg16_c", num_classes=None, hidden=None)
    image = jnp.zeros((1, 32, 32, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
    windows = {k: v["kernel"].shape[:2] for k, v in params.items()}
    pointwise = [k for k, window in windows.items() if window == (1, 1)]
    assert pointwise == ["stage3_conv3", "stage4_conv3", "stage5_conv3"]
    assert {window for k, window in windows.items() if k not in pointwise} == {(3, 3)}


def test_maps_are_the_papers():
    model = create("vgg19", num_classes=1000)
    image = jnp.zeros((1, 224, 224, 3))
    _, features = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), image, train=False)[0]
    )
    assert {k: v.shape[1:] for k, v in features.items()} == {
        "stride1": (224, 224, 64),
        "stride2": (112, 112, 128),
        "stride4": (56, 56, 256),
        "stride8": (28, 28, 512),
        "stride16": (14, 14, 512),
        "stride32": (7, 7, 512),
        "pooled": (4096,),
    }


def test_two_or_three_3x3_see_5_or_7_pixels():
    # Section 2.3: why the windows are small.
    assert receptive_field([Sliding(3)] * 2).size == 5
    assert receptive_field([Sliding(3)] * 3).size == 7
    # A unit of vgg16's last map.
    stages = [[Sliding(3, padding=1)] * n + [Sliding(2, 2)] for n in (2, 2, 3, 3, 3)]
    assert receptive_field([layer for stage in stages for layer in stage]).size == 212


@functools.cache
def small():
    """(model, variables, images) of a narrow network with one stage."""
    model = create("vgg11", num_classes=3, stage_sizes=(1,), width=2, hidden=64)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    # The paper's weights of the dense layers are so small that their outputs nearly vanish.
    return model, jax.tree.map(lambda p: p + 0.1, variables), x


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    model, variables, x = small()
    same, _ = model.apply(variables, x, train=False)
    again, _ = model.apply(variables, x, train=False)
    np.testing.assert_array_equal(same, again)
    a, b = (
        model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(i)})[0]
        for i in range(2)
    )
    assert (a != b).all()
    none = model.clone(dropout=0.0).apply(variables, x, train=True)[0]
    np.testing.assert_array_equal(none, same)


def test_pooled_is_what_the_head_reads():
    model, variables, x = small()
    logits, features = model.apply(variables, x, train=False)
    head = variables["params"]["head"]
    np.testing.assert_allclose(
        features["pooled"] @ head["kernel"] + head["bias"][None], logits, rtol=1e-5, atol=1e-5
    )
