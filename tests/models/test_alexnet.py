import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.ops.local_response_norm import local_response_norm

NARROW = {"channels": (4, 4, 4, 4, 4), "hidden": 8, "num_classes": 3}


def layer_sizes(name, **fields):
    model = create(name, num_classes=1000, **fields)
    image = jnp.zeros((1, 227, 227, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in variables["params"].items()}


def map_shapes(name, size, **fields):
    """Output shapes of all layers and features by name."""
    model = create(name, num_classes=1000, **fields)

    def run(x):
        (_, features), state = model.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
        )
        convolutions = {k: v for k, v in state["intermediates"].items() if k[:4] == "conv"}
        return {k: v["__call__"][0] for k, v in convolutions.items()} | features

    found = jax.eval_shape(run, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    return {k: v.shape[1:] for k, v in found.items()}


def test_single_tower_has_torchvisions_61100840_parameters():
    sizes = layer_sizes("alexnet")
    assert sizes == {
        "conv1": 23_296,
        "conv2": 307_392,
        "conv3": 663_936,
        "conv4": 884_992,
        "conv5": 590_080,
        "hidden1": 37_752_832,
        "hidden2": 16_781_312,
        "head": 4_097_000,
    }
    assert sum(sizes.values()) == 61_100_840


def test_two_towers_have_60965224_parameters():
    sizes = layer_sizes("alexnet_original")
    assert sizes == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "hidden1": 37_752_832,
        "hidden2": 16_781_312,
        "head": 4_097_000,
    }
    assert sum(sizes.values()) == 60_965_224


def test_towers_joined_have_62378344_parameters():
    assert sum(layer_sizes("alexnet_original", groups=1).values()) == 62_378_344


@pytest.mark.parametrize("pool_window", [2, 3])
def test_maps_are_the_papers(pool_window):
    assert map_shapes("alexnet_original", 227, pool_window=pool_window) == {
        "conv1": (55, 55, 96),
        "stride4": (55, 55, 96),
        "conv2": (27, 27, 256),
        "stride8": (27, 27, 256),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 384),
        "conv5": (13, 13, 256),
        "stride16": (13, 13, 256),
        "stride32": (6, 6, 256),
        "pooled": (4096,),
    }


def test_papers_224_pixels_give_54_not_55():
    assert map_shapes("alexnet_original", 224)["conv1"] == (54, 54, 96)


@pytest.mark.parametrize(("name", "side"), [("alexnet", 63), ("alexnet_original", 67)])
def test_smallest_image_is_the_smallest(name, side):
    assert create(name, num_classes=1000).smallest_image == side
    assert map_shapes(name, side)["stride32"] == (1, 1, 256)
    with pytest.raises(ValueError, match="does not fit"):
        map_shapes(name, side - 1)


def run(name, **fields):
    """(model, variables, images) of a narrow network whose layers all stay active."""
    model = create(name, **NARROW, **fields)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, 67, 67, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), x, train=False))
    draw = lambda leaf: rng.uniform(0.01, 0.02, leaf.shape).astype(np.float32)  # noqa: E731
    return model, jax.tree.map(draw, shapes), x


@functools.partial(jax.jit, static_argnums=0)
def features_of(model, variables, x):
    return model.apply(variables, x, train=False)[1]


def test_convolution_2_reads_its_own_tower_and_3_both():
    for groups in (1, 2):
        model, variables, x = run("alexnet_original", groups=groups, response_norm=False)
        moved = jax.tree.map(np.copy, variables)
        moved["params"]["conv1"]["bias"][2:] += 1  # the second tower
        a, b = (features_of(model, v, x) for v in (variables, moved))
        changed = (a["stride8"] != b["stride8"]).any((0, 1, 2))
        np.testing.assert_array_equal(changed, [groups == 1] * 2 + [True] * 2)
        assert (a["stride16"] != b["stride16"]).any((0, 1, 2)).all()


def test_first_maps_are_normalised_by_their_neighbours():
    model, variables, x = run("alexnet_original")
    bare = features_of(model.clone(response_norm=False), variables, 100 * x)["stride4"]
    normalised = features_of(model, variables, 100 * x)["stride4"]
    np.testing.assert_allclose(normalised, local_response_norm(bare), rtol=1e-6)
    assert (normalised < 0.6 * bare).any()  # which the constant 2^0.75 alone would give


def test_biases_start_where_the_paper_puts_them():
    model = create("alexnet_original", **NARROW)
    x = jnp.zeros((1, 67, 67, 3))
    params = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()["params"]
    ones = {name for name, layer in params.items() if (layer["bias"] == 1).all()}
    zeros = {name for name, layer in params.items() if (layer["bias"] == 0).all()}
    assert ones == {"conv2", "conv4", "conv5", "hidden1", "hidden2"}
    assert zeros == {"conv1", "conv3", "head"}


@pytest.mark.parametrize(("name", "follows"), [("alexnet", False), ("alexnet_original", True)])
def test_dropout_precedes_the_hidden_layers_or_follows_them(name, follows):
    model, variables, x = run(name)
    model = model.clone(dropout=0.999)
    apply = jax.jit(lambda v, key: model.apply(v, x, train=True, rngs={"dropout": key}))
    logits, features = apply(variables, jax.random.key(5))
    # With next to everything dropped a layer sees nothing and gives its bias.
    params = variables["params"]
    np.testing.assert_array_equal(features["pooled"][0], params["hidden2"]["bias"])
    assert np.array_equal(logits[0], params["head"]["bias"]) == follows
