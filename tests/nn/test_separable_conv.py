import jax
import numpy as np
import pytest

from cvjax.nn.separable_conv import SeparableConv

KEY = jax.random.key(0)
MAP = jax.random.normal(KEY, (2, 9, 7, 3))


@pytest.mark.parametrize("multiplier", [1, 8])
@pytest.mark.parametrize(("stride", "padding"), [(1, None), (2, None), (2, 0)])
def test_it_is_every_channel_under_its_own_windows_and_then_a_matrix(multiplier, stride, padding):
    conv = SeparableConv(5, stride=stride, padding=padding, depth_multiplier=multiplier)
    found, variables = jax.jit(lambda: conv.init_with_output(KEY, MAP))()
    windows = np.asarray(variables["params"]["depthwise"]["kernel"])  # [3, 3, 1, 3 * multiplier]
    matrix = np.asarray(variables["params"]["pointwise"]["kernel"])[0, 0]
    pad = 1 if padding is None else padding
    x = np.pad(np.asarray(MAP), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = (x.shape[1] - 3) // stride + 1, (x.shape[2] - 3) // stride + 1
    inner = np.zeros((2, height, width, 3 * multiplier), np.float32)
    for channel in range(3 * multiplier):
        for i in range(height):
            for j in range(width):
                patch = x[:, i * stride :, j * stride :][:, :3, :3, channel // multiplier]
                inner[:, i, j, channel] = (patch * windows[:, :, 0, channel]).sum((1, 2))
    np.testing.assert_allclose(found, inner @ matrix, rtol=1e-4, atol=1e-5)


def test_it_costs_a_window_a_channel_and_a_matrix():
    conv = SeparableConv(256)
    shape = jax.ShapeDtypeStruct((1, 8, 8, 256), np.float32)
    variables = jax.eval_shape(lambda x: conv.init(KEY, x), shape)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 9 * 256 + 256 * 256
