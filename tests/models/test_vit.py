import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def variables_of(model, random=False):
    x = jnp.zeros((1, model.image_size, model.image_size, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    if not random:
        return shapes
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32) / 4, shapes)


def count(model):
    return sum(leaf.size for leaf in jax.tree.leaves(variables_of(model)["params"]))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_small_patch16_224", 22_050_664),
        ("vit_base_patch16_224", 86_567_656),
        ("vit_b_16", 86_567_656),
        ("deit_tiny_patch16_224", 5_717_416),
        ("deit_small_patch16_224", 22_050_664),
        ("deit_base_patch16_224", 86_567_656),
        ("deit_tiny_distilled_patch16_224", 5_910_800),
        ("deit_small_distilled_patch16_224", 22_436_432),
        ("deit_base_distilled_patch16_224", 87_338_192),
        ("deit3_small_patch16_224", 22_059_496),
        ("deit3_base_patch16_224", 86_585_320),
    ],
)
def test_there_are_as_many_parameters_as_in_timm(name, parameters):
    assert count(create(name, num_classes=1000)) == parameters


def test_the_small_patch_variant_counts_as_the_paper_adds_up():
    block = 2 * 2 * 192 + (192 + 1) * 3 * 192 + (192 + 1) * 192
    block += (192 + 1) * 768 + (768 + 1) * 192
    ends = (4 * 4 * 3 + 1) * 192 + 192 + (64 + 1) * 192 + 2 * 192 + (192 + 1) * 10
    assert count(create("vit_tiny_patch4_32", num_classes=10)) == 12 * block + ends


def tiny(name="vit_tiny_patch4_32", **fields):
    fields = {"num_classes": 3, "width": 8, "depth": 2, "image_size": 8, "patch_size": 4, **fields}
    return create(name, **fields)


IMAGES = jax.random.normal(jax.random.key(5), (4, 8, 8, 3))


def run(model, variables, *, train, seed=0):
    apply = jax.jit(
        lambda v: model.apply(v, IMAGES, train=train, rngs={"dropout": jax.random.key(seed)}),
    )
    return jax.device_get(apply(variables))


@pytest.mark.parametrize("shape", [(1, 16, 8, 3), (1, 12, 12, 3)])
def test_another_size_than_the_positions_is_refused_with_advice(shape):
    model = tiny()
    with pytest.raises(ValueError, match=r"positions for 8x8.*resize_position_table"):
        model.apply(variables_of(model, random=True), jnp.zeros(shape), train=False)


def test_a_patch_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ValueError, match="image_size=10 is not a multiple"):
        variables_of(tiny(image_size=10))


def test_tokens_keep_their_places_in_the_map():
    # Without blocks every token depends on its own patch alone.
    model = tiny(depth=0)
    variables = variables_of(model, random=True)
    before = run(model, variables, train=False)[1]["stride4"]
    changed = IMAGES.at[:, 4:, :4].add(1.0)
    after = model.apply(variables, changed, train=False)[1]["stride4"]
    moved = np.abs(after - before).max((0, 3)) > 1e-6
    np.testing.assert_array_equal(moved, [[False, False], [True, False]])


@pytest.mark.sampled(1)
@pytest.mark.parametrize("field", ["dropout", "attention_dropout", "drop_path"])
def test_dropouts_act_in_training_only(field):
    model = tiny(**{field: 0.5})
    variables = variables_of(model, random=True)
    calm, _ = run(tiny(), variables, train=True)
    np.testing.assert_allclose(run(model, variables, train=False)[0], calm, atol=1e-6)
    first, second = (run(model, variables, train=True, seed=i)[0] for i in range(2))
    assert not np.allclose(first, calm, atol=1e-3)
    assert not np.allclose(first, second, atol=1e-3)


def test_dropped_paths_leave_an_example_to_its_skip_connections():
    model = tiny(drop_path=1.0)  # 0 in the first block, 1 in the second
    variables = variables_of(model, random=True)
    params = dict(variables["params"])
    del params["block2"]
    want, _ = run(tiny(depth=1), {"params": params}, train=True)
    np.testing.assert_allclose(run(model, variables, train=True)[0], want, atol=1e-5)


def test_class_token_without_position_is_added_after_the_table():
    with_, without = (variables_of(tiny(class_position=p))["params"] for p in (True, False))
    assert with_["position_embedding"].shape == (1, 5, 8)
    assert without["position_embedding"].shape == (1, 4, 8)


def test_layer_scale_starts_each_branch_small():
    model = tiny("deit3_small_patch16_224")
    init = jax.jit(lambda: model.init(jax.random.key(0), IMAGES, train=False))
    variables = init()
    for name in ("layer_scale1", "layer_scale2"):
        np.testing.assert_array_equal(variables["params"]["block1"][name], np.full(8, 1e-6, "f"))


def test_distilled_training_tells_the_two_heads_apart():
    model = tiny("deit_tiny_distilled_patch16_224")
    apart = model.clone(distilled_training=True)
    variables = variables_of(model, random=True)
    mean, features = run(model, variables, train=True)
    assert "aux1_logits" not in features
    alone, apart_features = run(apart, variables, train=True)
    np.testing.assert_allclose((alone + apart_features["aux1_logits"]) / 2, mean, atol=1e-6)
    assert not np.allclose(alone, mean, atol=1e-3)
    np.testing.assert_allclose(run(apart, variables, train=False)[0], mean, atol=1e-6)


@pytest.mark.slow
def test_remat_changes_memory_and_nothing_else():
    variables = variables_of(tiny(), random=True)
    rngs = {"dropout": jax.random.key(2)}

    def gradient(remat):
        model = tiny(dropout=0.1, attention_dropout=0.1, drop_path=0.1, remat=remat)
        return jax.grad(
            lambda v: jnp.square(model.apply(v, IMAGES, train=True, rngs=rngs)[0]).sum()
        )

    kept, again = (jax.jit(gradient(r))(variables) for r in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), kept, again)
    text = str(jax.make_jaxpr(gradient(True))(variables))
    assert "remat" in text or "checkpoint" in text
