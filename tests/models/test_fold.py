"""Folded batch norms: equal outputs, no norm left, and none folded that may not be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.models import create
from cvjax.models.fold import fold_batch_norms
from cvjax.nn.norm import BatchNorm
from cvjax.tasks.classification import Classification


def random_variables(model, image):
    """As after a training that went astray: no scale is 1, no mean 0, some scales negative."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        values = rng.normal(size=leaf.shape)
        if name == "var":
            values = np.exp(values)
        if name == "kernel":
            values = values / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
        if name == "steps":
            values = np.full(leaf.shape, 7)
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def check_equal(model, size, *, kept=0, channels=3):
    """Outputs agree to rounding; the folded tree holds as many norms as are `kept`."""
    image = jax.random.uniform(jax.random.key(1), (2, size, size, channels))
    variables = random_variables(model, image)
    folded = fold_batch_norms(model, variables, image)
    assert len(folded.kept) == kept
    norms = jax.tree_util.tree_leaves_with_path(folded.variables.get("batch_stats", {}))
    assert len(norms) == 2 * kept
    assert len(folded.folded) > 0

    @jax.jit
    def both(variables, other):
        return model.apply(variables, image, train=False), folded.apply(other, image, train=False)

    want, got = both(variables, folded.variables)
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        # Rounding, relative to the map: sums of both signs lose a few digits of float32.
        np.testing.assert_allclose(b, a, atol=3e-5 * max(np.abs(a).max(), 1))
    return folded, variables, image


@pytest.mark.slow
def test_a_resnet_folds_whole_and_predicts_the_same_through_its_task():
    model = create("resnet18", num_classes=3, stage_sizes=(1, 1), width=4)
    folded, variables, image = check_equal(model, 16)
    assert "batch_stats" not in folded.variables
    assert folded.folded["stage2_block1/shortcut_norm"] == "stage2_block1/shortcut_conv"
    for module in folded.variables["params"].values():
        assert not [name for name in module if "norm" in name]
    task = Classification(model)
    batch = {"image": image, "label": jnp.zeros(2, jnp.int32)}
    want = task.predict(variables, batch)["probability"]
    got = Classification(folded).predict(folded.variables, batch)["probability"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    with pytest.raises(ValueError, match="no batch statistics left"):
        folded.apply(folded.variables, image, train=True)


@pytest.mark.parametrize(
    ("name", "size", "fields"),
    [
        pytest.param("mobilenet_v2", 32, {}, marks=pytest.mark.slow),
        ("small_cnn", 8, {"norm": "batch_renorm", "channels": (4, 4), "hidden": 6}),
        pytest.param("vgg11_bn", 32, {"hidden": 8}, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", 32, {}, marks=pytest.mark.slow),
        pytest.param("googlenet", 32, {}, marks=pytest.mark.slow),
        pytest.param("inception_v3", 75, {}, marks=pytest.mark.slow),
        pytest.param("regnet_x_400mf", 32, {"stage_sizes": (1, 1, 1, 1)}, marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x0_5", 32, {}, marks=pytest.mark.slow),
    ],
)
def test_families_whose_norms_follow_convolutions_fold_whole(name, size, fields):
    check_equal(create(name, num_classes=3, **fields), size)


def test_norms_in_front_of_convolutions_stay():
    # Of pre-activation ResNets, the last norm and the first one of each block normalise a sum.
    model = create("resnetv2_50", num_classes=3, stage_sizes=(1,), width=4)
    folded, *_ = check_equal(model, 16, kept=2)
    assert set(folded.kept).isdisjoint(folded.folded)


class Awkward(nn.Module):
    """A convolution with a bias, one that is read twice, a norm used twice, one after a ReLU."""

    num_classes: int | None = None

    @nn.compact
    def __call__(self, image, *, train):
        frozen = {"use_running_average": not train}
        x = nn.BatchNorm(epsilon=1e-2, use_scale=False, name="foldable")(
            nn.Conv(3, (3, 3), name="biased")(image), **frozen
        )
        y = nn.Conv(3, (1, 1), use_bias=False, name="read_twice")(x)
        x = y + BatchNorm(name="beside_a_sum")(y, **frozen)
        shared = BatchNorm(name="shared")
        x = shared(nn.Conv(3, (1, 1), name="one")(x), **frozen)
        x = shared(nn.Conv(3, (1, 1), name="two")(x), **frozen)
        x = BatchNorm(name="after_relu")(nn.relu(x), **frozen)
        shown = nn.Conv(3, (1, 1), name="shown")(x)
        return None, {"shown": shown, "pooled": BatchNorm(name="of_shown")(shown, **frozen)}


def test_only_what_nothing_else_reads_is_folded_and_a_bias_moves_along():
    image = jax.random.normal(jax.random.key(1), (2, 4, 4, 2))
    model = Awkward()
    variables = random_variables(model, image)
    folded = fold_batch_norms(model, variables, image)
    assert folded.folded == {"foldable": "biased"}
    assert set(folded.kept) == {"beside_a_sum", "shared", "after_relu", "of_shown"}
    want = model.apply(variables, image, train=False)[1]
    got = folded.apply(folded.variables, image, train=False)[1]
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=2e-5)
    # The formula, by hand.
    stats = {k: np.asarray(v) for k, v in variables["batch_stats"]["foldable"].items()}
    conv = {k: np.asarray(v) for k, v in variables["params"]["biased"].items()}
    gain = 1 / np.sqrt(stats["var"] + 1e-2)
    bias = np.asarray(variables["params"]["foldable"]["bias"])
    found = folded.variables["params"]["biased"]
    np.testing.assert_allclose(found["kernel"], conv["kernel"] * gain, rtol=1e-5)
    want = (conv["bias"] - stats["mean"]) * gain + bias
    np.testing.assert_allclose(found["bias"], want, rtol=1e-4, atol=1e-6)


def test_a_model_without_batch_norms_is_refused():
    model = create("mlp", num_classes=3)
    image = jnp.zeros((1, 4, 4, 1))
    variables = model.init(jax.random.key(0), image, train=False)
    with pytest.raises(ValueError, match="it has no batch norm"):
        fold_batch_norms(model, variables, image)
