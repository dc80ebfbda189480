import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create


def count(model):
    image = jnp.zeros((1, 8, 8, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def by_arithmetic(depth, widen):
    """Parameters on CIFAR-10 by table 1 of the paper."""
    total, channels = 9 * 3 * 16, 16
    for width in (16 * widen, 32 * widen, 64 * widen):
        for _ in range((depth - 4) // 6):
            total += 2 * channels + 9 * channels * width + 2 * width + 9 * width * width
            total += channels * width if channels != width else 0
            channels = width
    return total + 2 * channels + channels * 10 + 10


@pytest.mark.parametrize(
    ("depth", "widen", "millions"),
    [
        (40, 1, 0.6),
        (40, 2, 2.2),
        (40, 4, 8.9),
        (40, 8, 35.7),
        (28, 10, 36.5),
        (28, 12, 52.5),
        (22, 8, 17.2),
        (22, 10, 26.8),
        (16, 8, 11.0),
        (16, 10, 17.1),
        (16, 4, 2.7),
    ],
)
def test_parameters_are_those_of_the_papers_table(depth, widen, millions):
    found = count(create(f"wrn_{depth}_{widen}", num_classes=10))
    assert found == by_arithmetic(depth, widen)
    assert round(found / 1e6, 1) == millions


def test_wrn_28_10_has_36479194_parameters():
    assert count(create("wrn_28_10", num_classes=10)) == 36_479_194


@pytest.mark.slow
def test_dropout_acts_between_the_convolutions_of_a_block_and_only_in_training():
    model = create("wrn_16_4", num_classes=None, stage_sizes=(1,), width=4, dropout=1.0)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()

    def map_of(model, *, train):
        rngs = {"dropout": jax.random.key(2)}
        (_, features), _ = model.apply(
            variables, x, train=train, mutable=["batch_stats"], rngs=rngs
        )
        return features["stride1"]

    dropped, kept = map_of(model, train=True), map_of(model.clone(dropout=0.0), train=True)
    assert jnp.abs(dropped - kept).max() > 0.1
    np.testing.assert_array_equal(
        map_of(model, train=False), map_of(model.clone(dropout=0.0), train=False)
    )
    # Nothing is left of the branch: the second convolution's weights do not matter.
    variables["params"]["stage1_block1"]["conv2"]["kernel"] *= 3
    np.testing.assert_array_equal(map_of(model, train=True), dropped)
