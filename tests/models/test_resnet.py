import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def variables_of(model, size=64):
    return jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False)
    )


def count(model):
    return sum(leaf.size for leaf in jax.tree.leaves(variables_of(model)["params"]))


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    ],
)
def test_imagenet_resnet_has_torchvisions_parameters(depth, parameters):
    assert count(create(f"resnet{depth}", num_classes=1000)) == parameters


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_cifar_resnet_and_its_plain_twin_have_the_published_parameters(depth, parameters):
    assert count(create(f"resnet{depth}", num_classes=10)) == parameters
    assert count(create(f"plain{depth}", num_classes=10)) == parameters


def test_projections_cost_two_convolutions_on_cifar():
    extra = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    model = create("resnet20", num_classes=10, shortcut="projection")
    assert count(model) == 269_722 + extra


def test_plain_twin_is_the_network_without_its_shortcuts():
    residual = variables_of(create("resnet34", num_classes=10))["params"]
    plain = variables_of(create("plain34", num_classes=10))["params"]
    for block in residual.values():
        for name in [name for name in block if name.startswith("shortcut_")]:
            del block[name]
    assert jax.tree.map(jnp.shape, residual) == jax.tree.map(jnp.shape, plain)


def tiny(**fields):
    return create("resnet20", num_classes=None, stage_sizes=(1, 1), width=4, **fields)


def test_padded_shortcut_is_every_second_pixel_between_zero_channels():
    model = tiny(zero_init_residual=True)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    variables = jax.jit(lambda m=model: m.init(jax.random.key(1), x, train=False))()
    _, features = model.apply(variables, x, train=False)
    # The blocks start as identities, so only the shortcut is left.
    want = np.zeros((1, 4, 4, 8), np.float32)
    want[..., 2:6] = features["stride1"][:, ::2, ::2]
    np.testing.assert_array_equal(features["stride2"], want)


def test_zero_init_makes_a_block_the_identity():
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    for zero in (True, False):
        model = create(
            "resnet50", num_classes=None, stage_sizes=(1,), width=4, zero_init_residual=zero
        )
        variables = jax.jit(lambda m=model: m.init(jax.random.key(1), x, train=False))()
        scale = variables["params"]["stage1_block1"]["norm3"]["scale"]
        assert (scale == (0 if zero else 1)).all()


def test_remat_changes_memory_and_nothing_else():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(lambda: tiny().init(jax.random.key(1), x, train=False))()

    def gradient(model):
        def loss(params):
            (_, features), mutated = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.square(features["pooled"]).sum(), mutated

        return jax.jit(jax.grad(loss, has_aux=True))

    kept, again = gradient(tiny()), gradient(tiny(remat=True))
    params = variables["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        kept(params),
        again(params),
    )
    text = jax.make_jaxpr(again)(params).pretty_print()
    assert "remat" in text or "checkpoint" in text


def test_initial_convolutions_have_he_variance():
    model = create("resnet20", num_classes=10, stage_sizes=(1,), width=64)
    params = jax.jit(lambda: model.init(jax.random.key(1), jnp.zeros((1, 8, 8, 3)), train=False))()[
        "params"
    ]
    kernel = params["stage1_block1"]["conv1"]["kernel"]  # 3x3, 64 -> 64
    np.testing.assert_allclose(kernel.std(), (2 / (9 * 64)) ** 0.5, rtol=0.02)
    assert (params["head"]["bias"] == 0).all()
