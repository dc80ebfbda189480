import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def count(model, size=32):
    image = jnp.zeros((1, size, size, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(50, 25_549_352), (101, 44_541_480), (152, 60_185_128), (200, 64_666_152)],
)
def test_imagenet_net_has_timms_parameters(depth, parameters):
    assert count(create(f"resnetv2_{depth}", num_classes=1000)) == parameters


@pytest.mark.sampled(1)
@pytest.mark.parametrize("depth", [20, 56, 110])
def test_moving_the_norms_moves_no_parameter_of_a_cifar_resnet(depth):
    # A block norms its input, not its output; what the two last stages miss at their start, the
    # norm behind the last block has, with the stem's: 16 - 32 + 32 - 64 + 64 - 16 = 0.
    old = count(create(f"resnet{depth}", num_classes=10))
    assert count(create(f"preact_resnet{depth}", num_classes=10)) == old


def bottlenecks_by_arithmetic(blocks):
    total, channels = 9 * 3 * 16, 16
    for inner in (16, 32, 64):
        for j in range(blocks):
            convs = channels * inner + 9 * inner * inner + inner * 4 * inner
            norms = 2 * (channels + inner + inner)
            total += convs + norms + (channels * 4 * inner if j == 0 else 0)
            channels = 4 * inner
    return total + 2 * channels + channels * 10 + 10


@pytest.mark.slow
def test_preact_resnet164_has_1_7_million_parameters():
    found = count(create("preact_resnet164", num_classes=10))
    assert found == bottlenecks_by_arithmetic(18)
    assert round(found / 1e6, 1) == 1.7


@pytest.mark.slow
def test_resnet_1001_has_10_3_million_parameters():
    found = count(create("preact_resnet164", num_classes=10, stage_sizes=(111, 111, 111)))
    assert found == bottlenecks_by_arithmetic(111) == 10_327_706  # the paper's table has 10.2


def tiny(name, **fields):
    return create(name, num_classes=None, **{"stage_sizes": (2, 1), "width": 4, **fields})


X = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))


def initial(model):
    return jax.jit(lambda: model.init(jax.random.key(1), X, train=False))()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["preact_resnet20", "preact_resnet164"])
def test_nothing_but_sums_lies_between_blocks(name):
    model = tiny(name, stage_sizes=(3,))
    variables = initial(model)
    params = variables["params"]
    last = "conv2" if name == "preact_resnet20" else "conv3"
    for block in ("stage1_block2", "stage1_block3"):
        params[block][last]["kernel"] *= 0
    _, features = model.apply(variables, X, train=False)
    # Blocks whose branches are silent are not there.
    shallow = tiny(name, stage_sizes=(1,))
    kept = {k: v for k, v in params.items() if k not in ("stage1_block2", "stage1_block3")}
    stats = {k: v for k, v in variables["batch_stats"].items() if k in kept}
    _, want = shallow.apply({"params": kept, "batch_stats": stats}, X, train=False)
    np.testing.assert_array_equal(features["stride1"], want["stride1"])


@pytest.mark.slow
def test_maps_inside_are_sums_and_the_last_is_activated():
    model = tiny("preact_resnet20", stage_sizes=(1, 1, 1))
    _, features = model.apply(initial(model), X, train=False)
    assert (features["stride1"] < 0).any()
    assert (features["stride2"] < 0).any()
    assert (features["stride4"] >= 0).all()


def test_padded_shortcut_is_every_second_pixel_between_zero_channels():
    model = tiny("preact_resnet20", stage_sizes=(1, 1))
    variables = initial(model)
    variables["params"]["stage2_block1"]["conv2"]["kernel"] *= 0
    _, features = model.apply(variables, X, train=False)
    want = np.zeros((2, 4, 4, 8), np.float32)
    want[..., 2:6] = np.maximum(features["stride1"][:, ::2, ::2], 0) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(features["stride2"], want, atol=1e-6)


def test_drop_path_at_rate_one_skips_the_last_block():
    model = tiny("preact_resnet20", stage_sizes=(1,), drop_path=1.0)
    variables, rngs = initial(model), {"dropout": jax.random.key(2)}
    run = {"train": True, "mutable": ["batch_stats"], "rngs": rngs}
    (_, skipped), _ = model.apply(variables, X, **run)
    variables["params"]["stage1_block1"]["conv2"]["kernel"] *= 0
    (_, empty), _ = model.clone(drop_path=0.0).apply(variables, X, **run)
    np.testing.assert_array_equal(skipped["stride1"], empty["stride1"])


@pytest.mark.slow
def test_remat_changes_no_gradient():
    model = tiny("preact_resnet20")
    variables = initial(model)

    def gradient(model):
        def loss(params):
            (_, features), _ = model.apply(
                {**variables, "params": params}, X, train=True, mutable=["batch_stats"]
            )
            return jnp.square(features["pooled"]).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(model),
        gradient(model.clone(remat=True)),
    )
