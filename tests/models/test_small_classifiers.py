"""The small CNN, the CNN without pooling, the linear classifier and the MLP."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.ops.conv import Sliding, receptive_field


def parameters(name, shape=(1, 28, 28, 1), **fields):
    model = create(name, **fields)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape), train=False))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_small_cnn_has_421642_parameters_with_and_without_dropout():
    assert parameters("small_cnn", num_classes=10) == 421_642
    assert parameters("small_cnn", num_classes=10, dropout=0.5) == 421_642


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    model = create("small_cnn", num_classes=3, dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    _, plain = model.apply(variables, x, train=False)
    _, dropped = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(2)})
    kept = dropped["pooled"] != 0
    np.testing.assert_allclose(dropped["pooled"], jnp.where(kept, 2 * plain["pooled"], 0))
    assert 0.3 < kept[plain["pooled"] != 0].mean() < 0.7


def test_network_without_pooling_has_55744_parameters_below_its_head():
    assert parameters("no_max_pool_cnn", num_classes=None) == 55_744
    assert parameters("no_max_pool_cnn", num_classes=10) == 55_744 + 15_860_224 + 5_130


def test_network_without_pooling_sees_7_by_7_pixels():
    model = create("no_max_pool_cnn", num_classes=None)
    x = jax.random.uniform(jax.random.key(0), (1, 16, 16, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()

    def unit(x):
        return model.apply(variables, x, train=False)[1]["stride1"][0, 2, 3].sum()

    rows, columns = jnp.nonzero(jax.grad(unit)(x)[0, :, :, 0])
    seen = receptive_field([Sliding(3)] * 3).size
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (seen, seen)
    assert seen == 7


def test_linear_classifier_starts_at_zero_scores():
    model = create("linear", num_classes=10)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    logits, _ = model.apply(variables, x, train=False)
    assert (logits == 0).all()  # so softmax starts at ln 10, the hinge at 9


def test_linear_classifier_is_a_matrix_product():
    model = create("linear", num_classes=3)
    x = jax.random.normal(jax.random.key(0), (2, 2, 2, 1))
    w, b = jax.random.normal(jax.random.key(1), (4, 3)), jnp.arange(3.0)
    logits, _ = model.apply({"params": {"head": {"kernel": w, "bias": b}}}, x, train=False)
    np.testing.assert_allclose(logits, np.asarray(x).reshape(2, 4) @ w + b[None], atol=1e-5)


def test_mlp_without_a_nonlinearity_collapses_to_one_matrix():
    model = create("mlp", num_classes=3, hidden=(5, 4), activation="identity")
    x = jax.random.normal(jax.random.key(0), (2, 2, 3, 1))
    params = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()["params"]
    logits, _ = model.apply({"params": params}, x, train=False)
    w = params["hidden1"]["kernel"] @ params["hidden2"]["kernel"] @ params["head"]["kernel"]
    np.testing.assert_allclose(logits, x.reshape(2, 6) @ w, atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5, 3)])
def test_mlp_counts_its_dense_layers(hidden):
    widths = (6, *hidden, 4)
    want = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    assert parameters("mlp", (1, 2, 3, 1), num_classes=4, hidden=hidden) == want


def test_maxout_doubles_the_parameters_of_every_hidden_layer():
    want = 2 * (6 + 1) * 7 + 2 * (7 + 1) * 5 + (5 + 1) * 4
    fields = {"num_classes": 4, "hidden": (7, 5), "activation": "maxout"}
    assert parameters("mlp", (1, 2, 3, 1), **fields) == want
    with pytest.raises(ValueError, match="drop_connect has no maxout layer"):
        parameters("mlp", (1, 2, 3, 1), **fields, drop_connect=0.5)


def test_a_self_normalising_mlp_drops_to_selus_limit():
    model = create("mlp", num_classes=None, hidden=(50,), activation="selu", dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    dropped = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(2)})[1]
    values, counts = np.unique(dropped["pooled"], return_counts=True)
    # a = (q + L^2 q (1 - q))^-1/2 and a L - a (1 - q) L with SELU's limit L and q = 0.5
    limit = -1.0507009873554805 * 1.6732632423543772
    gain = (0.5 + 0.25 * limit**2) ** -0.5
    np.testing.assert_allclose(values[counts.argmax()], gain * limit * 0.5, rtol=1e-5)
    assert 0.35 < counts.max() / counts.sum() < 0.65


@pytest.mark.parametrize("norm", ["batch_renorm", "instance"])
def test_norms_stand_before_the_nonlinearity_so_the_scale_of_an_image_is_lost(norm):
    model = create("small_cnn", num_classes=3, channels=(4, 4), hidden=6, norm=norm)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    train = norm.startswith("batch")  # these take the batch's statistics in training alone

    @jax.jit
    def logits(scale):
        variables = model.init(jax.random.key(1), x, train=False)
        return model.apply(variables, scale * x, train=train, mutable=["batch_stats"])[0][0]

    # What the epsilons leave of the scale: 1e-5 beside a variance of about 1 and of 100.
    np.testing.assert_allclose(logits(1.0), logits(10.0), atol=2e-3)
    assert np.abs(logits(1.0)).max() > 0.1


def test_lrn_and_overlapping_pools_stand_where_alexnet_has_them():
    model = create(
        "small_cnn", num_classes=None, channels=(6,), hidden=5, norm="lrn", pool="overlapping"
    )
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    _, features = model.apply(variables, 30 * x, train=False)
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    padded = np.pad(30 * np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = np.zeros((2, 9, 9, 6))
    for i, j in itertools.product(range(9), range(9)):
        maps[:, i, j] = np.tensordot(padded[:, i : i + 3, j : j + 3], kernel, 3)
    maps = np.maximum(maps, 0)
    squares = np.stack([(maps[..., max(c - 2, 0) : c + 3] ** 2).sum(-1) for c in range(6)], -1)
    maps = np.pad(maps / (2 + 1e-4 * squares) ** 0.75, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for i, j in itertools.product(range(5), range(5)):
        want = maps[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
        np.testing.assert_allclose(features["stride2"][:, i, j], want, atol=1e-4)


def test_fractional_pools_halve_the_area_and_move_in_training_only():
    model = create("small_cnn", num_classes=3, channels=(4, 4), hidden=6, pool="fractional")
    x = jax.random.normal(jax.random.key(0), (1, 12, 12, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    # 12 -> 8 -> 5 by floor(side / sqrt 2), where 2x2 windows leave 6 and 3.
    assert variables["params"]["hidden"]["kernel"].shape == (5 * 5 * 4, 6)

    @jax.jit
    def logits(key):
        trained = model.apply(variables, x, train=True, rngs={"dropout": key})[0]
        evaluated = model.apply(variables, x, train=False, rngs={"dropout": key})[0]
        return trained[0], evaluated[0]

    trained, evaluated = zip(*(logits(jax.random.key(i)) for i in range(4)))
    assert len({tuple(row.tolist()) for row in trained}) > 1
    assert len({tuple(row.tolist()) for row in evaluated}) == 1
