import jax
import numpy as np
from flax import linen as nn

from cvjax.nn.inception import HALVE, Branches, Conv, Fork, Pool, reduction
from cvjax.ops.pool import avg_pool, max_pool

KEY = jax.random.key(0)
MAP = jax.nn.relu(jax.random.normal(KEY, (2, 9, 7, 4)))


def run(branches):
    module = Branches(branches, kernel_init=nn.initializers.normal(1.0), epsilon=0.0)
    found, variables = jax.jit(lambda: module.init_with_output(KEY, MAP, train=False))()
    return np.asarray(found), variables.get("params", {})


def pointwise(x, params, name):
    """Initial BatchNorm with epsilon 0 is the identity, so this is what a 1x1 block does."""
    kernel = params[name]["conv"]["kernel"][0, 0]
    return np.maximum(np.einsum("bhwc,cd->bhwd", x, kernel), 0)


def test_branches_lie_side_by_side_in_their_order():
    found, params = run(((Conv(3),), (), (Pool("avg"), Conv(2)), (Pool("max"),)))
    assert set(params) == {"branch1_conv1", "branch3_conv1"}
    averages = avg_pool(MAP, window=3, stride=1, padding=1)
    want = [
        pointwise(MAP, params, "branch1_conv1"),
        MAP,
        pointwise(averages, params, "branch3_conv1"),
        max_pool(MAP, window=3, stride=1, padding=1),
    ]
    np.testing.assert_allclose(found, np.concatenate(want, -1), rtol=1e-4, atol=1e-5)


def test_a_fork_is_two_convolutions_of_the_same_map():
    found, params = run(((Conv(5), Fork((Conv(3), Conv(2)))),))
    inner = pointwise(MAP, params, "branch1_conv1")
    tines = [pointwise(inner, params, f"branch1_conv2{letter}") for letter in "ab"]
    np.testing.assert_allclose(found, np.concatenate(tines, -1), rtol=1e-4, atol=1e-5)


def test_borders_count_in_an_average_only_if_told():
    counted, _ = run(((Pool("avg"),),))
    left_out, _ = run(((Pool("avg", count_padding=False),),))
    np.testing.assert_allclose(counted[:, 0, 0] * 9 / 4, left_out[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(counted[:, 1:-1, 1:-1], left_out[:, 1:-1, 1:-1], rtol=1e-5)


def test_reduction_halves_the_map_and_keeps_its_channels_beside_the_new_ones():
    found, _ = run(reduction(6, (3, 4, 5)))
    assert found.shape == (2, 4, 3, 6 + 5 + 4)
    np.testing.assert_array_equal(found[..., 11:], run(((HALVE,),))[0])
