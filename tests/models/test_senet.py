import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create


def params_of(model):
    image = jnp.zeros((1, 64, 64, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("senet154", 115_088_984),
        ("legacy_seresnet50", 28_088_024),
        ("legacy_seresnet101", 49_326_872),
        ("legacy_seresnet152", 66_821_848),
        ("legacy_seresnext50_32x4d", 27_559_896),
        ("legacy_seresnext101_32x4d", 48_955_416),
    ],
)
def test_parameters_are_those_of_the_released_nets(name, parameters):
    params = params_of(create(name, num_classes=1000))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.slow
def test_senet154_is_154_layers_deep():
    flat = jax.tree_util.tree_leaves_with_path(params_of(create("senet154", num_classes=1000)))
    paths = [jax.tree_util.keystr(path) for path, leaf in flat if path[-1].key == "kernel"]
    counted = [p for p in paths if "shortcut" not in p and "squeeze_excite" not in p]
    assert len(counted) == 154


@pytest.mark.slow
def test_dropout_is_in_front_of_the_head_in_training():
    model = create("senet154", num_classes=7, stage_sizes=(1,), width=8, dropout=1.0)
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    bias = jnp.arange(7.0)
    variables["params"]["head"]["bias"] = bias
    rngs = {"dropout": jax.random.key(2)}
    (logits, features), _ = model.apply(
        variables, x, train=True, mutable=["batch_stats"], rngs=rngs
    )
    assert (logits == bias[None]).all()
    assert (features["pooled"] != 0).any()
