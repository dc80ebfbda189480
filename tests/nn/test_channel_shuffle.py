import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.channel_shuffle import channel_shuffle


def test_groups_take_turns():
    got = channel_shuffle(jnp.arange(6), groups=2)
    np.testing.assert_array_equal(got, [0, 3, 1, 4, 2, 5])


def test_shuffling_by_the_other_factor_undoes_it():
    x = jnp.arange(24).reshape(2, 12)
    np.testing.assert_array_equal(channel_shuffle(channel_shuffle(x, groups=3), groups=4), x)


def test_groups_that_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match="4 groups do not divide 6 channels"):
        channel_shuffle(jnp.arange(6), groups=4)
