import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.models.classifiers.convnext import Block

IMAGES = jax.random.normal(jax.random.key(5), (4, 16, 16, 3))


def variables_of(model, random=False):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))
    if not random:
        return shapes
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32) / 4, shapes)


def tiny(**fields):
    fields = {"num_classes": 3, "stage_sizes": (1, 1), "width": 8, **fields}
    return create("convnext_tiny", **fields)


def run(model, variables, *, train, seed=0):
    apply = jax.jit(
        lambda v: model.apply(v, IMAGES, train=train, rngs={"dropout": jax.random.key(seed)}),
    )
    return jax.device_get(apply(variables))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("convnext_tiny", 28_589_128),
        ("convnext_small", 50_223_688),
        ("convnext_base", 88_591_464),
        ("convnext_large", 197_767_336),
    ],
)
def test_there_are_as_many_parameters_as_in_torchvision(name, parameters):
    params = variables_of(create(name, num_classes=1000, stage_sizes=(3, 3, 9, 3)))["params"]
    block = {k: v for k, v in params.items() if k == "stage3_block1"}
    size, extra = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (params, block))
    # The deeper variants repeat a block of the third stage, and only that one.
    deeper = create(name, num_classes=1000).stage_sizes[2] - 9
    assert size + deeper * extra == parameters


@pytest.mark.parametrize(
    ("name", "sizes", "rate"),
    [
        ("convnext_tiny", (3, 3, 9, 3), 0.1),
        ("convnext_small", (3, 3, 27, 3), 0.4),
        ("convnext_base", (3, 3, 27, 3), 0.5),
        ("convnext_large", (3, 3, 27, 3), 0.5),
    ],
)
def test_variants_have_the_papers_depths_and_drop_rates(name, sizes, rate):
    model = create(name, num_classes=None)
    assert (model.stage_sizes, model.drop_path) == (sizes, rate)


def test_blocks_start_as_nearly_the_identity():
    x = jnp.ones((1, 2, 2, 4))
    init = jax.jit(lambda: Block().init(jax.random.key(0), x, train=False))
    factor = init()["params"]["layer_scale"]
    np.testing.assert_array_equal(factor, np.full(4, 1e-6, np.float32))


def test_block_sees_seven_pixels_and_every_channel_of_its_own():
    params = variables_of(tiny())["params"]["stage1_block1"]
    assert params["conv"]["kernel"].shape == (7, 7, 1, 8)


@pytest.mark.slow
def test_stochastic_depth_acts_in_training_only():
    model = tiny(drop_path=0.5)
    variables = variables_of(model, random=True)
    calm, _ = run(tiny(drop_path=0.0), variables, train=True)
    np.testing.assert_allclose(run(model, variables, train=False)[0], calm, atol=1e-6)
    first, second = (run(model, variables, train=True, seed=i)[0] for i in range(2))
    assert not np.allclose(first, calm, atol=1e-3)
    assert not np.allclose(first, second, atol=1e-3)


def test_a_block_dropped_for_sure_is_its_skip_connection():
    model = tiny(drop_path=1.0)  # 0 in the first block, 1 in the second
    variables = variables_of(model, random=True)
    _, features = run(model, variables, train=True)
    params = dict(variables["params"])
    params["stage2_block1"] = {
        **params["stage2_block1"],
        "layer_scale": 0 * params["stage2_block1"]["layer_scale"],
    }
    _, want = run(tiny(drop_path=0.0), {"params": params}, train=False)
    np.testing.assert_allclose(features["stride8"], want["stride8"], atol=1e-6)


@pytest.mark.slow
def test_remat_changes_memory_and_nothing_else():
    variables = variables_of(tiny(stage_sizes=(1,)), random=True)
    rngs = {"dropout": jax.random.key(2)}

    def gradient(remat):
        model = tiny(stage_sizes=(1,), remat=remat)
        return jax.grad(
            lambda v: jnp.square(model.apply(v, IMAGES, train=True, rngs=rngs)[0]).sum()
        )

    kept, again = (jax.jit(gradient(r))(variables) for r in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), kept, again)
    text = str(jax.make_jaxpr(gradient(True))(variables))
    assert "remat" in text or "checkpoint" in text
