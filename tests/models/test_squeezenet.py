import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def layer_sizes(name):
    model = create(name, num_classes=1000)
    image = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in variables["params"].items()}


def test_layers_have_the_parameters_of_table_1():
    sizes = layer_sizes("squeezenet1_0")
    assert sizes == {
        "stem_conv": 14_208,
        "fire2": 11_920,
        "fire3": 12_432,
        "fire4": 45_344,
        "fire5": 49_440,
        "fire6": 104_880,
        "fire7": 111_024,
        "fire8": 188_992,
        "fire9": 197_184,
        "head": 513_000,
    }
    assert sum(sizes.values()) == 1_248_424


def test_version_1_1_has_1235496_parameters_and_the_same_fire_modules():
    first, second = layer_sizes("squeezenet1_0"), layer_sizes("squeezenet1_1")
    assert sum(second.values()) == 1_235_496
    assert {k for k in first if first[k] != second[k]} == {"stem_conv", "fire2"}


def test_fifty_times_fewer_parameters_than_alexnet():
    assert 61_100_840 / sum(layer_sizes("squeezenet1_0").values()) == pytest.approx(50, rel=0.03)


@pytest.mark.parametrize(
    ("name", "size"),
    [("squeezenet1_0", 227), ("squeezenet1_1", 224)],  # the paper's 111 pixels need 227
)
def test_maps_are_the_papers(name, size):
    model = create(name, num_classes=1000)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    logits, features = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    sides = {k: v.shape[1] for k, v in features.items() if k != "pooled"}
    assert sides == {"stride2": 111, "stride4": 55, "stride8": 27, "stride16": 13}
    assert logits.shape == (1, 1000)


def test_logits_average_scores_that_are_never_negative():
    model = create("squeezenet1_1", num_classes=5, stage_sizes=(1,), dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    head = {"kernel": jax.random.normal(jax.random.key(2), (1, 1, 128, 5)), "bias": jnp.zeros(5)}
    variables["params"]["head"] = head
    logits, features = jax.jit(lambda v: model.apply(v, x, train=False))(variables)
    scores = np.maximum(np.asarray(features["stride4"]) @ np.asarray(head["kernel"][0, 0]), 0)
    np.testing.assert_allclose(logits, scores.mean((1, 2)), rtol=1e-4, atol=1e-5)
    dropped, _ = jax.jit(
        lambda v: model.apply(v, x, train=True, rngs={"dropout": jax.random.key(3)})
    )(variables)
    assert not np.allclose(dropped, logits, rtol=1e-3)
