import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def count(model, size=64):
    image = jnp.zeros((1, size, size, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("depth", "parameters"), [(121, 7_978_856), (169, 14_149_480), (201, 20_013_928)]
)
def test_imagenet_densenet_has_torchvisions_parameters(depth, parameters):
    assert count(create(f"densenet{depth}", num_classes=1000)) == parameters


def by_arithmetic(depth, growth, bottleneck):
    """Parameters on CIFAR-10, layer by layer as section 3 has them."""
    layers = (depth - 4) // (6 if bottleneck else 3)
    channels = 2 * growth if bottleneck else 16
    total = 27 * channels
    for stage in range(3):
        for _ in range(layers):
            if bottleneck:
                total += 2 * channels + channels * 4 * growth
                total += 2 * 4 * growth + 9 * 4 * growth * growth
            else:
                total += 2 * channels + 9 * channels * growth
            channels += growth
        if stage < 2:
            kept = channels // 2 if bottleneck else channels
            total += 2 * channels + channels * kept
            channels = kept
    return total + 2 * channels + 10 * channels + 10


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("densenet_40_12", 1.0),
        ("densenet_bc_100_12", 0.8),
        pytest.param("densenet_bc_250_24", 15.3, marks=pytest.mark.slow),
        ("densenet_bc_190_40", 25.6),
    ],
)
def test_cifar_densenet_has_the_parameters_of_the_papers_table(name, millions):
    depth, growth = map(int, name.split("_")[-2:])
    found = count(create(name, num_classes=10), size=8)
    assert found == by_arithmetic(depth, growth, "_bc_" in name)
    assert round(found / 1e6, 1) == millions


def test_smallest_published_densenet_has_769162_parameters():
    assert count(create("densenet_bc_100_12", num_classes=10), size=8) == 769_162


def tiny(**fields):
    return create(
        "densenet_bc_100_12", num_classes=None, stage_sizes=(2, 1), growth=3, width=4, **fields
    )


def initial(model, x):
    return jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()


X = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))


@pytest.mark.slow
def test_block_keeps_every_map_that_went_into_it():
    model = tiny()
    variables = initial(model, X)
    _, features = model.apply(variables, X, train=False)
    whole = features["stride1"]
    assert whole.shape == (2, 8, 8, 4 + 2 * 3)
    assert features["stride2"].shape == (2, 4, 4, (4 + 2 * 3) // 2 + 3)
    variables["params"]["stage1_layer1"]["conv2"]["kernel"] *= 0
    _, features = model.apply(variables, X, train=False)
    silent = features["stride1"]
    np.testing.assert_array_equal(silent[..., :4], whole[..., :4])
    assert (silent[..., 4:7] == 0).all()
    assert jnp.abs(silent[..., 7:] - whole[..., 7:]).max() > 0.01  # the second layer reads them


@pytest.mark.slow
def test_full_dropout_leaves_the_stem_alone():
    model = tiny(dropout=1.0)
    variables, rngs = initial(model, X), {"dropout": jax.random.key(2)}
    (_, features), _ = model.apply(variables, X, train=True, mutable=["batch_stats"], rngs=rngs)
    assert (features["stride1"][..., :4] != 0).any()
    assert (features["stride1"][..., 4:] == 0).all()
    _, features = model.apply(variables, X, train=False)
    assert (features["stride1"][..., 4:] != 0).any()


@pytest.mark.slow
def test_remat_changes_no_gradient():
    variables = initial(tiny(), X)

    def gradient(model):
        def loss(params):
            (_, features), _ = model.apply(
                {**variables, "params": params}, X, train=True, mutable=["batch_stats"]
            )
            return jnp.square(features["pooled"]).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(tiny()),
        gradient(tiny(remat=True)),
    )
