import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.models.classifiers.lenet5 import C3_READS, SparseConv, codes
from cvjax.ops.conv import conv_multiply_adds


def layer_sizes(model, shape):
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape), train=False))
    return {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in variables["params"].items()}


def test_todays_lenet5_has_61706_parameters():
    sizes = layer_sizes(create("lenet5", num_classes=10), (1, 32, 32, 1))
    assert sizes == {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164, "head": 850}
    assert sum(sizes.values()) == 61_706


def test_padded_28_pixels_fit_the_parameters_of_32():
    sizes = layer_sizes(create("lenet5", num_classes=10, padding=2), (1, 28, 28, 1))
    assert sum(sizes.values()) == 61_706


def test_papers_lenet5_has_the_papers_60000_parameters():
    sizes = layer_sizes(create("lenet5_paper", num_classes=10), (1, 32, 32, 1))
    assert sizes == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "f6": 10_164,
    }
    assert sum(sizes.values()) == 60_000


def test_paper_counts_340908_connections():
    c1 = conv_multiply_adds(28, 28, 5, 1, 6) + 28 * 28 * 6
    s2 = 14 * 14 * 6 * 5
    c3 = 10 * 10 * 1_516
    s4 = 5 * 5 * 16 * 5
    assert c1 + s2 + c3 + s4 + 48_120 + 10_164 + 84 * 10 == 340_908


def test_sparse_convolution_reads_only_its_maps():
    conv = SparseConv(C3_READS)
    x = jax.random.normal(jax.random.key(0), (1, 14, 14, 6))
    variables = conv.init(jax.random.key(1), x)
    base = conv.apply(variables, x)
    assert base.shape == (1, 10, 10, 16)
    for i in range(6):
        moved = conv.apply(variables, x.at[..., i].add(1)) != base
        want = [i in reads for reads in C3_READS]
        np.testing.assert_array_equal(moved.any((0, 1, 2)), want)


def test_output_is_minus_the_squared_distance_to_the_codes():
    model = create("lenet5_paper", num_classes=10)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    logits, features = model.apply(variables, x, train=False)
    want = [[-sum((f - c) ** 2) for c in codes(10)] for f in np.asarray(features["pooled"])]
    np.testing.assert_allclose(logits, want, rtol=1e-5)


@pytest.mark.parametrize("num_classes", [10, 26])
def test_codes_are_distinct_signs(num_classes):
    signs = codes(num_classes)
    assert signs.shape == (num_classes, 84)
    assert set(np.unique(signs)) == {-1, 1}
    apart = (signs[:, None] != signs[None]).sum(-1) + 84 * np.eye(num_classes)
    assert apart.min() >= 11  # of 84 places: 0 and 6 are the nearest digits


def test_nonlinearity_can_follow_the_pooling():
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 1))
    before, after = (
        create("lenet5", num_classes=10, activation="sigmoid", activation_after=where)
        for where in ("conv", "pool")
    )
    variables = jax.jit(lambda: before.init(jax.random.key(1), x, train=False))()
    a, b = (m.apply(variables, x, train=False)[1]["stride2"] for m in (before, after))
    # Jensen: the mean of squashed values is not the squashed mean.
    assert jnp.abs(a - b).max() > 1e-3
