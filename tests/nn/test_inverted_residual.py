import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.inverted_residual import InvertedResidual, divisible

X = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))


def parameters(**fields):
    block = InvertedResidual(**{"channels": 4, "expanded": 24, **fields})
    variables = jax.eval_shape(lambda: block.init(jax.random.key(1), X, train=False))
    return variables["params"]


def test_widths_are_multiples_of_eight_that_lose_at_most_a_tenth():
    for width in np.arange(1, 300, 0.7):
        got = divisible(width)
        assert got % 8 == 0
        assert got >= 0.9 * width
    assert [divisible(c) for c in (1, 11, 12, 24 * 0.35, 32 * 1.4)] == [8, 16, 16, 8, 48]


def test_a_block_that_expands_nothing_has_no_first_convolution():
    assert set(parameters()) == {"expand", "depthwise", "project"}
    assert set(parameters(expanded=4)) == {"depthwise", "project"}
    assert set(parameters(fused=True)) == {"expand", "project"}
    assert set(parameters(fused=True, expanded=4)) == {"expand"}


def test_the_window_filters_channels_apart_unless_fused():
    assert parameters(window=5)["depthwise"]["conv"]["kernel"].shape == (5, 5, 1, 24)
    assert parameters(window=5, fused=True)["expand"]["conv"]["kernel"].shape == (5, 5, 4, 24)


@pytest.mark.parametrize(("fields", "added"), [({}, True), ({"stride": 2}, False),
                                               ({"channels": 6}, False)])  # fmt: skip
def test_the_input_is_added_where_the_shape_stays(fields, added):
    block = InvertedResidual(**{"channels": 4, "expanded": 8, **fields})
    variables = block.init(jax.random.key(1), X, train=False)
    # Without its last scale the branch is 0.
    norm = variables["params"]["project"]["norm"]
    norm["scale"] = jnp.zeros_like(norm["scale"])
    y = block.apply(variables, X, train=False)
    np.testing.assert_array_equal(y, X if added else jnp.zeros_like(y))


def test_gate_scales_the_widest_map():
    gate = parameters(squeeze=2)["squeeze_excite"]
    assert gate["reduce"]["kernel"].shape == (24, 2)
    assert gate["expand"]["kernel"].shape == (2, 24)


def test_examples_lose_the_branch_at_the_drop_rate():
    block = InvertedResidual(4, expanded=8, drop_rate=0.5)
    x = jnp.concatenate([X] * 16)
    variables = block.init(jax.random.key(1), x, train=False)
    y, _ = block.apply(
        variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(3)}
    )
    kept = np.any(np.asarray(y != x), axis=(1, 2, 3))
    assert 6 <= kept.sum() <= 26  # 32 fair coins: all but one in 5,000 draws
