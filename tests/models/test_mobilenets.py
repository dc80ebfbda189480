import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def shapes(model, size=64):
    def both():
        x = jnp.zeros((1, size, size, 3))
        variables = model.init(jax.random.key(0), x, train=False)
        return variables, *model.apply(variables, x, train=False)

    return jax.eval_shape(both)


def count(model):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(model)[0]["params"]))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("width", "parameters"),
    [(0.35, 1_677_128), (0.5, 1_968_680), (0.75, 2_636_424), (1.0, 3_504_872), (1.4, 6_108_776)],
)
def test_mobilenet_v2_has_torchvisions_parameters_at_every_width(width, parameters):
    assert count(create("mobilenet_v2", num_classes=1000, width_multiplier=width)) == parameters


def test_mobilenet_v2_drops_the_pooled_channels_in_training_alone():
    model = create("mobilenet_v2", num_classes=5, stage_sizes=(1,), dropout=1.0)
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()

    def logits(train):
        rngs = {"dropout": jax.random.key(2)}
        outputs, _ = model.apply(variables, x, train=train, mutable=["batch_stats"], rngs=rngs)
        return outputs[0]

    assert not np.any(jax.jit(lambda: logits(True))())  # the bias starts at 0
    assert np.all(jax.jit(lambda: logits(False))())


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mobilenetv1_100", 4_231_976),
        ("mobilenet_v3_large", 5_483_032),
        ("mobilenet_v3_small", 2_542_856),
        ("mnasnet0_5", 2_218_512),
        ("mnasnet0_75", 3_170_208),
        ("mnasnet1_0", 4_383_312),
        ("mnasnet1_3", 6_282_256),
    ],
)
def test_mobile_network_has_the_references_parameters(name, parameters):
    assert count(create(name, num_classes=1000)) == parameters


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("percent", "millions"), [(25, 0.5), (50, 1.3), (75, 2.6), (100, 4.2)])
def test_mobilenet_v1_has_the_papers_parameters(percent, millions):
    found = count(create(f"mobilenetv1_{percent:03d}", num_classes=1000))
    assert round(found / 1e6, 1) == millions  # table 6


def test_mobilenet_v1_sees_what_table_1_lists():
    _, _, features = shapes(create("mobilenetv1_100", num_classes=None), 224)
    maps = {key: value.shape[1:] for key, value in features.items()}
    assert maps == {
        "stride2": (112, 112, 64),
        "stride4": (56, 56, 128),
        "stride8": (28, 28, 256),
        "stride16": (14, 14, 512),
        "stride32": (7, 7, 1024),
        "pooled": (1024,),
    }
