import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.models import create
from cvjax.models.classifiers.resnet import BasicBlock
from cvjax.nn.drop_path import DropPath


def variables_of(model, size=64):
    return jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False)
    )


def count(model):
    return sum(leaf.size for leaf in jax.tree.leaves(variables_of(model)["params"]))


@pytest.mark.sampled(2)
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


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_cifar_resnet_and_its_plain_twin_have_the_published_parameters(depth, parameters):
    assert count(create(f"resnet{depth}", num_classes=10)) == parameters
    assert count(create(f"plain{depth}", num_classes=10)) == parameters


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnext50_32x4d", 25_028_904),
        ("resnext101_32x8d", 88_791_336),
        ("resnext101_64x4d", 83_455_272),
        ("wide_resnet50_2", 68_883_240),
        ("wide_resnet101_2", 126_886_696),
        ("seresnet50", 28_088_024),
        ("seresnet101", 49_326_872),
        ("seresnet152", 66_821_848),
        ("seresnext50_32x4d", 27_559_896),
        ("resnet50d", 25_576_264),
    ],
)
def test_descendant_has_the_parameters_of_torchvisions_or_timms(name, parameters):
    assert count(create(name, num_classes=1000)) == parameters


@pytest.mark.sampled(1)
@pytest.mark.parametrize("depth", [18, 34, 101, 152])
def test_deep_stem_costs_the_same_at_every_depth(depth):
    seven = 7 * 7 * 3 * 64 + 2 * 64
    deep = (9 * 3 * 32 + 2 * 32) + (9 * 32 * 32 + 2 * 32) + (9 * 32 * 64 + 2 * 64)
    plain = count(create(f"resnet{depth}", num_classes=1000))
    assert count(create(f"resnet{depth}d", num_classes=1000)) == plain + deep - seven


@pytest.mark.parametrize(
    ("groups", "parameters"),
    [(8, 34_426_698), (16, 68_155_210)],  # 34.4 and 68.1 (cut off) million in table 7
)
def test_cifar_resnext_has_the_parameters_of_the_papers_table(groups, parameters):
    def block(channels, inner, out):
        convs = channels * inner + 9 * 64 * inner * (inner // (groups * 64)) + inner * out
        shortcut = channels * out + 2 * out if channels != out else 0
        return convs + 2 * (inner + inner + out) + shortcut

    want = 27 * 64 + 2 * 64 + 1024 * 10 + 10
    channels = 64
    for i in range(3):
        for _ in range(3):
            want += block(channels, groups * 64 * 2**i, 256 * 2**i)
            channels = 256 * 2**i
    assert want == parameters
    assert count(create(f"resnext29_{groups}x64d", num_classes=10)) == parameters


def test_groups_of_a_resnext_widen_with_the_stages():
    params = variables_of(create("resnext50_32x4d", num_classes=None))["params"]
    kernels = [params[f"stage{i}_block2"]["conv2"]["kernel"].shape for i in (1, 2, 3, 4)]
    assert kernels == [(3, 3, 4, 128), (3, 3, 8, 256), (3, 3, 16, 512), (3, 3, 32, 1024)]


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


def test_pooled_shortcut_is_the_mean_of_four_pixels_and_of_fewer_at_an_odd_border():
    model = tiny(zero_init_residual=True).clone(shortcut="pool")
    x = jax.random.normal(jax.random.key(0), (1, 7, 8, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    _, features = model.apply(variables, x, train=False)
    before = np.asarray(features["stride1"])
    kernel = variables["params"]["stage2_block1"]["shortcut_conv"]["kernel"][0, 0]
    want = np.zeros((1, 4, 4, 4), np.float32)
    for i in range(4):
        for j in range(4):
            want[:, i, j] = before[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
    want = np.maximum(want @ np.asarray(kernel), 0) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(features["stride2"], want, atol=1e-5)


def test_stochastic_depth_skips_a_block_only_in_training():
    deep, shallow = tiny(drop_path=1.0).clone(stage_sizes=(1,)), tiny().clone(stage_sizes=())
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(lambda: deep.init(jax.random.key(1), x, train=False))()

    def pooled(model, *, train):
        rngs = {"dropout": jax.random.key(5)}
        (_, features), _ = model.apply(
            variables, x, train=train, mutable=["batch_stats"], rngs=rngs
        )
        return features["pooled"]

    np.testing.assert_array_equal(pooled(deep, train=True), pooled(shallow, train=True))
    assert jnp.abs(pooled(deep, train=False) - pooled(shallow, train=False)).max() > 0.1


@pytest.mark.slow
def test_stochastic_depth_of_the_paper_keeps_40_of_54_blocks_on_average():
    rates = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, DropPath):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        variables_of(create("resnet110", num_classes=10, drop_path=0.5), size=8)
    assert len(rates) == 54
    assert rates[0] == pytest.approx(0.5 / 54)
    assert rates[-1] == 0.5
    assert sum(1 - rate for rate in rates) == pytest.approx(40.25)


def test_zero_init_makes_a_block_the_identity():
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    for zero in (True, False):
        model = create(
            "resnet50", num_classes=None, stage_sizes=(1,), width=4, zero_init_residual=zero
        )
        variables = jax.jit(lambda m=model: m.init(jax.random.key(1), x, train=False))()
        scale = variables["params"]["stage1_block1"]["norm3"]["scale"]
        assert (scale == (0 if zero else 1)).all()


@pytest.mark.slow
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


def shapes_of(**fields):
    model = create("resnet18", num_classes=3, stage_sizes=(1, 1), width=8, **fields)
    return variables_of(model, size=32)


def test_without_a_norm_convolutions_have_biases_and_blocks_can_start_as_the_identity():
    variables = shapes_of(norm="none", zero_init_residual=True)
    names = {jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(variables)}
    assert not any("norm" in name for name in names)
    block = variables["params"]["stage1_block1"]
    assert set(block["conv2"]) == {"kernel", "bias"}
    x = jnp.ones((1, 2, 2, 8))
    identity = BasicBlock(8, stride=1, shortcut="projection", norm="none", zero_init_residual=True)
    y, _ = identity.init_with_output(jax.random.key(0), x, train=False)
    np.testing.assert_array_equal(y, x)


def test_other_norms_and_nonlinearities_have_the_batch_norms_places():
    batch = shapes_of()
    group = shapes_of(norm="group", activation="prelu")
    assert "batch_stats" not in group
    slopes = 1 + 2 * 2
    count = len(jax.tree.leaves(batch["params"]))
    assert len(jax.tree.leaves(group["params"])) == count + slopes
