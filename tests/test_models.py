"""The contract that every discovered model keeps (cvjax/models)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create, list_models

SIZE = 64  # legal for every model
# Compiling takes nearly all of the time here; unoptimised code is compiled five times as fast.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
# Fields that make a deep or wide model cheap to compile and leave it the same kind of model.
SMALLER = {"stage_sizes": (1, 1), "width": 8, "hidden": 16}


def shallow(name, **fields):
    model = create(name, **fields)
    smaller = {k: v for k, v in SMALLER.items() if type(getattr(model, k, None)) is type(v)}
    return model.clone(**smaller)


# Variants that differ in depth alone are one model when shallow.
KINDS = {repr(shallow(name, num_classes=5)): name for name in reversed(list_models())}
KINDS = sorted(KINDS.values())


def shapes(model, height=SIZE, width=SIZE, batch=2, channels=3):
    """(variables, logits, features) as shapes; nothing is computed."""

    def both():
        x = jnp.zeros((batch, height, width, channels))
        variables = model.init(jax.random.key(0), x, train=False)
        return variables, *model.apply(variables, x, train=False)

    return jax.eval_shape(both)


@functools.cache
def random_run(name):
    """The shallow model at random parameters: (model, variables, images)."""
    model = shallow(name, num_classes=5)
    variables, _, _ = shapes(model, 32, 32)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key in ("var", "scale"):
            return 1 + 0.1 * np.abs(noise)
        fan_in = max(leaf.size // leaf.shape[-1], 1)
        return noise / np.float32(fan_in**0.5) if leaf.ndim > 1 else np.float32(0.1) * noise

    variables = jax.tree_util.tree_map_with_path(draw, variables)
    return model, variables, rng.standard_normal((4, 32, 32, 3)).astype(np.float32)


def test_there_are_models():
    assert len(KINDS) >= 8


@pytest.mark.parametrize("name", list_models("*"))
def test_logits_and_features_have_the_promised_shapes(name):
    _, logits, features = shapes(create(name, num_classes=7))
    assert logits.shape == (2, 7)
    assert features["pooled"].ndim == 2
    _, _, larger = shapes(create(name, num_classes=7), SIZE + 64, SIZE + 128)
    for key, map_ in features.items():
        if key == "pooled":
            continue
        stride = int(key.removeprefix("stride"))
        # Maps of networks without padding are smaller by a border, but grow by 1 every stride.
        grown = (larger[key].shape[1] - map_.shape[1], larger[key].shape[2] - map_.shape[2])
        assert grown == (64 // stride, 128 // stride), key
        assert SIZE / stride - 8 < map_.shape[1] <= SIZE / stride


@pytest.mark.parametrize("name", KINDS)
def test_odd_and_oblong_images_and_any_channels_are_legal(name):
    for height, width, channels in ((33, 47, 1), (61, 32, 4)):
        _, logits, features = shapes(shallow(name, num_classes=3), height, width, 1, channels)
        assert logits.shape == (1, 3)
        assert all(min(map_.shape) > 0 for map_ in features.values())


@pytest.mark.parametrize("name", KINDS)
def test_no_classes_means_no_head(name):
    whole, _, with_head = shapes(shallow(name, num_classes=7))
    backbone, logits, features = shapes(shallow(name, num_classes=None))
    assert logits is None
    assert jax.tree.map(jnp.shape, features) == jax.tree.map(jnp.shape, with_head)
    left = set(backbone.get("params", {}))
    assert left <= set(whole["params"])
    assert "head" not in left
    for module in left:
        assert jax.tree.map(jnp.shape, backbone["params"][module]) == jax.tree.map(
            jnp.shape, whole["params"][module]
        )


@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_compute_keeps_float32_parameters_and_logits(name):
    for dtype in (jnp.bfloat16, "bfloat16"):
        variables, logits, features = shapes(shallow(name, num_classes=7, dtype=dtype))
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        assert logits.dtype == jnp.float32
        assert {leaf.dtype for leaf in features.values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name):
    model, variables, images = random_run(name)
    rngs = {"dropout": jax.random.key(3)}
    rest = {k: v for k, v in variables.items() if k != "params"}

    @quick_jit
    def gradient(params):
        def loss(params):
            (logits, _), _ = model.apply(
                {"params": params, **rest}, images, train=True, mutable=list(rest), rngs=rngs
            )
            return jnp.sum(jax.nn.log_softmax(logits)[:, 0])

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        where = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), where
        assert np.any(leaf), where


@pytest.mark.parametrize("name", KINDS)
def test_evaluation_treats_every_image_on_its_own_and_changes_nothing(name):
    model, variables, images = random_run(name)
    apply = quick_jit(lambda x: model.apply(variables, x, train=False, mutable=list(variables)))
    (logits, _), mutated = apply(images)
    (swapped, _), _ = apply(images[::-1])
    np.testing.assert_allclose(logits[::-1], swapped, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, dict(mutated), dict(variables))
