import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create

KEY = jax.random.key(0)


def shapes(model, size=224, train=False):
    """(variables, (logits, features)) as shapes; nothing is computed."""

    def both():
        x = jnp.zeros((2, size, size, 3))
        rngs = {"params": KEY, "dropout": KEY}
        variables = model.init(rngs, x, train=False)
        out = model.apply(variables, x, train=train, rngs=rngs, mutable=["batch_stats"])
        return variables, out[0]

    return jax.eval_shape(both)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_it_has_torchvisions_parameters_with_and_without_auxiliary_heads():
    params = shapes(create("googlenet", num_classes=1000, aux_heads=True))[0]["params"]
    assert count(params) == 13_004_888
    assert count(params.pop("aux1")) == 512 * 128 + 256 + 2049 * 1024 + 1025 * 1000
    assert count(params.pop("aux2")) == 528 * 128 + 256 + 2049 * 1024 + 1025 * 1000
    assert count(params) == 6_624_904
    assert count(shapes(create("googlenet", num_classes=1000))[0]["params"]) == 6_624_904


def test_maps_have_the_sizes_of_the_papers_table():
    _, (_, features) = shapes(create("googlenet", num_classes=1000))
    assert {name: map_.shape[1:] for name, map_ in features.items()} == {
        "stride2": (112, 112, 64),
        "stride4": (56, 56, 192),
        "stride8": (28, 28, 480),
        "stride16": (14, 14, 832),
        "stride32": (7, 7, 1024),
        "pooled": (1024,),
    }


def test_first_module_makes_256_channels_of_192():
    model = create("googlenet", num_classes=None, stage_sizes=(1,))
    variables, (_, features) = shapes(model)
    assert features["stride8"].shape == (2, 28, 28, 256)
    assert variables["params"]["stage3_block1"]["branch1_conv1"]["conv"]["kernel"].shape[2] == 192


def test_it_has_22_layers_with_parameters():
    params = shapes(create("googlenet", num_classes=10))[0]["params"]
    stem = sum(name.startswith("stem_conv") for name in params)
    deepest = sum(
        max(int(branch[-1]) for branch in block)
        for name, block in params.items()
        if name.startswith("stage")
    )
    assert stem + deepest + 1 == 22


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_auxiliary_logits_come_with_a_head_only(train):
    fields = {"aux_heads": True, "stage_sizes": (1, 4, 1)}
    _, (_, features) = shapes(create("googlenet", num_classes=7, **fields), 32, train)
    assert features["aux1_logits"].shape == features["aux2_logits"].shape == (2, 7)
    variables, (_, features) = shapes(create("googlenet", num_classes=None, **fields), 32, train)
    assert not [name for name in [*features, *variables["params"]] if name.startswith("aux")]
    model = create("googlenet", num_classes=7, dtype=jnp.bfloat16, **fields)
    _, (_, features) = shapes(model, 32, train)
    assert features["aux1_logits"].dtype == jnp.float32


def test_training_drops_out_before_the_head_and_in_the_auxiliary_head():
    model = create("googlenet", num_classes=7, aux_heads=True, stage_sizes=(0, 1))
    x = jax.random.normal(KEY, (2, 32, 32, 3))
    variables, _ = shapes(model, 32)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(np.abs(rng.normal(0.1, 0.1, leaf.shape)), jnp.float32), variables
    )

    def run(key):
        (logits, features), _ = model.apply(
            variables, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return logits, features["aux1_logits"], features["pooled"]

    run = jax.jit(run)
    logits, aux, pooled = run(jax.random.key(1))
    other_logits, other_aux, other_pooled = run(jax.random.key(2))
    assert np.abs(logits - other_logits).max() > 0
    assert np.abs(aux - other_aux).max() > 0
    np.testing.assert_array_equal(pooled, other_pooled)
