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
