"""The contract that every discovered classifier keeps (cvjax/models/classifiers)."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create, list_models

# Fields that make a deep or wide model cheap to compile and leave it the same kind of model.
SMALLER = {"width": 8, "hidden": 16, "depth": 2}
STRIDES = ("stride1", "stride2", "stride4", "stride8", "stride16", "stride32")
# Shallow as they get, they still take long to compile, and the fast tests run others of their kind.
SLOW_TO_COMPILE = {
    "bn_inception", "convnext_base", "googlenet", "inception_resnet_v2", "inception_v3",
    "inception_v4", "mnasnet1_0", "nasnetalarge", "nasnetamobile", "regnet_y_16gf", "senet154",
    "swin_b", "tf_efficientnet_b0", "wide_resnet101_2", "xception",
}  # fmt: skip
SLOW_GRADIENT = SLOW_TO_COMPILE | {
    "darknet19", "mobilenet_v2", "mobilenet_v3_small", "mobilenetv1_100", "resnet101_v1",
    "resnetv2_101", "shufflenet_v2_x0_5", "zfnet",
}  # fmt: skip
# Parameters that the paper's or a library's network has and that act on nothing.
IDLE = {"ResNetV1": r"\['conv'\]\['bias'\]$"}  # the normalisation behind takes the mean away


def shallow(name, **fields):
    """One block a stage, narrow, of few pixels where the size is fixed."""
    model = create(name, **fields)
    smaller = {k: v for k, v in SMALLER.items() if type(getattr(model, k, None)) is type(v)}
    if isinstance(stages := getattr(model, "stage_sizes", None), tuple):
        smaller["stage_sizes"] = (1,) * len(stages)
    if fixed_size(model):
        smaller["image_size"] = 4 * getattr(model, "patch_size", 16)
    return model.clone(**smaller)


def kind(name):
    """What is left of a model when numbers but 0 and 1 count as the same."""

    def rough(value):
        if isinstance(value, (tuple, list)):
            return tuple(rough(v) for v in value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value if value in (0, 1) else "number"
        return value

    model = shallow(name, num_classes=5)
    fields = dataclasses.fields(model)
    return repr([type(model), [(f.name, rough(getattr(model, f.name))) for f in fields]])


def fixed_size(model):
    return getattr(model, "image_size", None)


def smallest(model, wished):
    """A legal side that is at least `wished`, where the model leaves a choice."""
    return fixed_size(model) or max(wished, getattr(model, "smallest_image", 0))


CLASSIFIERS = list_models(kind="classifiers")
# Variants that differ in depth and widths alone are one kind of model.
KINDS = sorted({kind(name): name for name in reversed(CLASSIFIERS)}.values())
# The fast tests take the last kind of each class, the slow ones all.
LAST_OF_CLASS = {type(create(name, num_classes=5)): name for name in KINDS}.values()


OF_ONE_SIZE = [name for name in KINDS if fixed_size(create(name, num_classes=5))]


def or_slow(fast, without=()):
    return [
        n if n in fast else pytest.param(n, marks=pytest.mark.slow)
        for n in KINDS
        if n not in without
    ]


TRACED = or_slow(set(LAST_OF_CLASS) - {"nasnetalarge", "nasnetamobile"})
OF_ANY_SIZE = or_slow(set(LAST_OF_CLASS) - {"nasnetalarge", "nasnetamobile"}, without=OF_ONE_SIZE)
COMPILED = or_slow(set(LAST_OF_CLASS) - SLOW_TO_COMPILE)
DIFFERENTIATED = or_slow(set(LAST_OF_CLASS) - SLOW_GRADIENT)


@functools.cache
def shapes(model, height, width, batch=2, channels=3):
    """(variables, logits, features) as shapes; nothing is computed."""
    x = jax.ShapeDtypeStruct((batch, height, width, channels), jnp.float32)
    (logits, features), variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), x
    )
    return variables, logits, features


def square_shapes(model):
    side = smallest(model, 64)
    return shapes(model, side, side)


@functools.cache
def random_run(name):
    """The shallow model at random parameters: (model, variables, images)."""
    model = shallow(name, num_classes=5)
    side = smallest(model, 32)
    variables, _, _ = shapes(model, side, side)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key in ("var", "scale"):
            return 1 + 0.1 * np.abs(noise)
        fan_in = max(leaf.size // leaf.shape[-1], 1)
        return noise / np.float32(fan_in**0.5) if leaf.ndim > 1 else np.float32(0.1) * noise

    variables = jax.tree_util.tree_map_with_path(draw, variables)
    return model, variables, rng.standard_normal((4, side, side, 3)).astype(np.float32)


def test_there_are_models():
    assert len(KINDS) >= 8


@pytest.mark.parametrize("name", TRACED)
def test_logits_and_features_have_the_promised_shapes(name):
    check_shapes(shallow(name, num_classes=7))


# tests/models/test_<family>.py counts the parameters of all at full depth.
@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_at_full_depth_too(name):
    check_shapes(create(name, num_classes=7))


def check_shapes(model):
    side = smallest(model, 64)
    _, logits, features = square_shapes(model)
    assert logits.shape == (2, 7)
    assert features["pooled"].ndim == 2
    assert set(features) <= {"pooled", *STRIDES}
    for key in set(features) - {"pooled"}:
        stride = int(key.removeprefix("stride"))
        batch, height, width, _ = features[key].shape
        assert batch == 2, key
        # Maps of networks without padding are smaller by a border.
        assert side / stride - 8 < height == width <= math.ceil(side / stride), key


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_a_map_grows_by_a_pixel_every_stride(name):
    model = shallow(name, num_classes=7)
    side = smallest(model, 64)
    _, _, features = square_shapes(model)
    _, _, larger = shapes(model, side + 64, side + 128)
    for key in set(features) - {"pooled"}:
        stride = int(key.removeprefix("stride"))
        grown = [b - a for a, b in zip(features[key].shape[1:3], larger[key].shape[1:3])]
        assert grown == [64 // stride, 128 // stride], key
    assert features["pooled"].shape[0] == larger["pooled"].shape[0]


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_odd_and_oblong_images_and_any_channels_are_legal(name):
    model = shallow(name, num_classes=3)
    height, width = smallest(model, 33), smallest(model, 33) + 14
    _, logits, features = shapes(model, height, width, batch=1, channels=1)
    assert logits.shape == (1, 3)
    assert all(min(map_.shape) > 0 for map_ in features.values())


@pytest.mark.parametrize("name", OF_ONE_SIZE)
def test_another_image_size_is_refused_in_plain_words(name):
    model = shallow(name, num_classes=7)
    side = fixed_size(model)
    for height, width in ((side + 32, side), (side // 2, side // 2)):
        with pytest.raises(ValueError, match=str(side)) as error:
            shapes(model, height, width)
        assert str(height) in str(error.value)


@pytest.mark.parametrize("name", TRACED)
def test_no_classes_means_no_head(name):
    whole, _, with_head = square_shapes(shallow(name, num_classes=7))
    backbone, logits, features = square_shapes(shallow(name, num_classes=None))
    assert logits is None
    assert jax.tree.map(jnp.shape, features) == jax.tree.map(jnp.shape, with_head)
    left = set(backbone.get("params", {}))
    assert left <= set(whole["params"])
    assert "head" not in left
    for module in left:
        assert jax.tree.map(jnp.shape, backbone["params"][module]) == jax.tree.map(
            jnp.shape, whole["params"][module]
        )


@pytest.mark.parametrize("name", TRACED)
def test_bfloat16_compute_keeps_float32_parameters_and_logits(name):
    variables, logits, features = square_shapes(shallow(name, num_classes=7, dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name):
    model, variables, images = random_run(name)
    rngs = {"dropout": jax.random.key(3)}
    rest = {k: v for k, v in variables.items() if k != "params"}

    @jax.jit
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
        if (idle := IDLE.get(type(model).__name__)) and re.search(idle, where):
            assert np.abs(leaf).max() < 1e-4, where
        else:
            assert np.any(leaf), where


@pytest.mark.parametrize("name", COMPILED)
def test_evaluation_treats_every_image_on_its_own_changes_nothing_and_is_traced_once(name):
    _, variables, images = random_run(name)
    traced, (logits, mutated, _), (swapped, _, _) = evaluated(name)
    np.testing.assert_allclose(logits[::-1], swapped, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, dict(mutated), dict(variables))
    assert traced == [images.shape]


@pytest.mark.parametrize("name", COMPILED)
def test_bfloat16_runs_and_says_nearly_the_same(name):
    _, (logits, _, rounded), _ = evaluated(name)
    assert np.isfinite(rounded).all()
    assert np.abs(logits - rounded).max() < 0.2 * np.abs(logits).max()


@functools.cache
def evaluated(name):
    """What was traced; twice (logits, mutated, bfloat16's logits): of the images, and reversed."""
    model, variables, images = random_run(name)
    traced = []

    @jax.jit
    def apply(x):
        traced.append(x.shape)
        (logits, _), mutated = model.apply(variables, x, train=False, mutable=list(variables))
        rounded, _ = model.clone(dtype=jnp.bfloat16).apply(variables, x, train=False)
        return logits, mutated, rounded

    return traced, jax.device_get(apply(images)), jax.device_get(apply(images[::-1]))
