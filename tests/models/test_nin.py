import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def layer_sizes(name, num_classes):
    model = create(name, num_classes=num_classes)
    image = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in variables["params"].items()}


def feature_shapes(name, size):
    model = create(name, num_classes=10)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    _, features = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    return {k: v.shape[1:] for k, v in features.items()}


def test_cifar_network_has_966986_parameters():
    sizes = layer_sizes("nin_cifar", 10)
    assert sizes == {
        "stage1_conv": 14_592,
        "stage1_mlp1": 30_880,
        "stage1_mlp2": 15_456,
        "stage2_conv": 460_992,
        "stage2_mlp1": 37_056,
        "stage2_mlp2": 37_056,
        "stage3_conv": 331_968,
        "stage3_mlp1": 37_056,
        "head": 1_930,
    }
    assert sum(sizes.values()) == 966_986


def test_imagenet_network_has_7595176_parameters():
    sizes = layer_sizes("nin_imagenet", 1000)
    assert len(sizes) == 12
    assert sum(sizes.values()) == 7_595_176
    # "29 MB" of float32, as its authors give it.
    assert sum(sizes.values()) * 4 / 2**20 == pytest.approx(29, abs=0.1)


def test_maps_halve_and_round_up():
    assert feature_shapes("nin_cifar", 32) == {
        "stride1": (32, 32, 96),
        "stride2": (16, 16, 192),
        "stride4": (8, 8, 192),
        "pooled": (192,),
    }
    assert feature_shapes("nin_imagenet", 224) == {
        "stride4": (54, 54, 96),
        "stride8": (27, 27, 256),
        "stride16": (13, 13, 384),
        "stride32": (6, 6, 1024),
        "pooled": (1024,),
    }


@pytest.mark.parametrize(("name", "side"), [("nin_cifar", 6), ("nin_imagenet", 55)])
def test_smallest_image_is_the_smallest(name, side):
    assert create(name, num_classes=10).smallest_image == side
    assert {shape[0] for k, shape in feature_shapes(name, side).items() if k != "pooled"} >= {1}
    with pytest.raises(ValueError, match="does not fit"):
        feature_shapes(name, side - 1)


def identity(**fields):
    """(model, variables) of two stages whose layers pass a positive map of one channel on."""
    fields = {"windows": (1, 1), "layers": (1, 1), "channels": (1, 1)} | fields
    model = create("nin_cifar", num_classes=2, **fields)
    one = {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)}
    head = {"kernel": jnp.array([1.0, -1.0]).reshape(1, 1, 1, 2), "bias": jnp.array([-1.0, 0.5])}
    return model, {"params": {"stage1_conv": one, "stage2_conv": one, "head": head}}


@pytest.mark.parametrize(("average_pools", "reduce"), [((), np.max), ((0,), np.mean)])
def test_pooling_takes_the_maximum_or_the_mean_of_what_is_in_the_image(average_pools, reduce):
    model, variables = identity(average_pools=average_pools, dropped_pools=())
    x = np.random.default_rng(0).uniform(size=(1, 8, 8, 1)).astype(np.float32)
    _, features = model.apply(variables, x, train=True)
    want = [[reduce(x[0, i : i + 3, j : j + 3]) for j in (0, 2, 4, 6)] for i in (0, 2, 4, 6)]
    np.testing.assert_allclose(features["stride2"][0, :, :, 0], want, rtol=1e-6)


def test_logits_average_a_rectified_score_map():
    model, variables = identity(windows=(1,), layers=(1,), channels=(1,))
    x = 2 * np.random.default_rng(0).uniform(size=(1, 8, 8, 1)).astype(np.float32)
    logits, _ = model.apply(variables, x, train=False)
    want = [np.maximum(x - 1, 0).mean(), np.maximum(0.5 - x, 0).mean()]
    np.testing.assert_allclose(logits[0], want, rtol=1e-5)


@pytest.mark.parametrize("dropped_pools", [(), (0,)])
def test_dropout_follows_the_named_poolings_in_training(dropped_pools):
    model, variables = identity(average_pools=(0,), dropped_pools=dropped_pools)
    x = jnp.ones((1, 32, 32, 1))
    _, features = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(features["stride2"])) == ({0.0, 2.0} if dropped_pools else {1.0})
    _, features = model.apply(variables, x, train=False)
    assert (features["stride2"] == 1).all()
