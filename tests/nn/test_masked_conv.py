"""Masked convolutions against loops over which value may see which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.masked_conv import MaskedConv, group_mask, shifted_down

KEY = jax.random.key(0)


def seen(module, shape):
    """[out position..., in position...]: whether an output value changes with an input value."""
    x = jax.random.normal(KEY, (1, *shape))
    variables = module.init(KEY, x)
    jacobian = jax.jit(jax.jacobian(lambda x: module.apply(variables, x[None])[0]))(x[0])
    return np.abs(np.asarray(jacobian)) > 1e-9


def before(mask, out, into, groups, channels):
    """Whether the convolution with that mask may show `into` to `out`, each (row, column, c)."""
    (row, column, c), (in_row, in_column, in_c) = out, into
    if (in_row, in_column) != (row, column):
        return in_row < row or (in_row == row and in_column < column)
    group, in_group = c * groups // channels[1], in_c * groups // channels[0]
    return in_group < group or (mask == "B" and in_group == group)


@pytest.mark.parametrize("mask", ["A", "B"])
def test_values_see_what_comes_before_within_the_window_and_nothing_else(mask):
    channels = (3, 6)
    module = MaskedConv(6, above=1, left=1, right=1, mask=mask, groups=3)
    found = seen(module, (3, 4, 3))
    for out in np.ndindex(3, 4, 6):
        for into in np.ndindex(3, 4, 3):
            near = 0 <= out[0] - into[0] <= 1 and abs(out[1] - into[1]) <= 1
            assert found[out + into] == (near and before(mask, out, into, 3, channels))


def test_rows_are_seen_whole():
    found = seen(MaskedConv(1, above=1, left=2, right=2, mask="rows"), (3, 3, 1))[..., 0]
    for row, column, in_row, in_column in np.ndindex(3, 3, 3, 3):
        assert found[row, column, 0, in_row, in_column] == (0 <= row - in_row <= 1)


def test_blocks_each_hold_all_groups():
    mask = group_mask(2, 8, groups=2, own=True, blocks=2)
    np.testing.assert_array_equal(mask[0], np.ones(8))
    np.testing.assert_array_equal(mask[1], [0, 0, 1, 1, 0, 0, 1, 1])


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="8 channels out do not divide into 3 equal parts"):
        group_mask(3, 8, groups=3, own=True)


def test_weights_begin_with_the_variance_of_the_inputs_that_are_left():
    module = MaskedConv(512, above=2, left=2, right=2, mask="A")
    x = jax.random.normal(KEY, (4, 9, 9, 16))
    y = module.apply(module.init(KEY, x), x)[:, 4:5, 4:5]
    assert float(y.var()) == pytest.approx(2, rel=0.1)  # He: twice, for the ReLU behind


def test_shifted_rows_leave_zeros_above():
    image = jnp.arange(6.0).reshape(1, 3, 2, 1)
    np.testing.assert_array_equal(shifted_down(image)[0, ..., 0], [[0, 0], [0, 1], [2, 3]])


@pytest.mark.parametrize("mask", ["A", "rows"])
def test_parts_from_a_cache_are_the_whole(mask):
    module = MaskedConv(4, above=2, left=1, right=1, mask=mask)
    x = jax.random.normal(KEY, (2, 5, 4, 3))
    variables = module.init(KEY, x)
    whole, cache = module.apply(variables, x, mutable=["cache"])
    part = jax.jit(lambda c, x, at: module.apply({**variables, **c}, x, at, mutable=["cache"]))
    width = 1 if mask == "A" else 4
    for row in range(5):
        for column in range(0, 4, width):
            piece = x[:, row : row + 1, column : column + width]
            y, cache = part(cache, piece, (row, column))
            expected = whole[:, row : row + 1, column : column + width]
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_parts_of_a_whole_map_need_no_cache():
    module = MaskedConv(4, above=1, left=1, right=1, mask="A")
    x = jax.random.normal(KEY, (2, 4, 4, 3))
    variables = module.init(KEY, x)
    whole = module.apply(variables, x)
    found = module.apply(variables, x, (2, 1), width=2)
    np.testing.assert_allclose(found, whole[:, 2:3, 1:3], rtol=1e-4, atol=1e-5)
