"""The fast transposed convolution against flax's, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.nn.up_conv import UpConv


def test_it_is_flaxs_transposed_convolution_with_the_same_parameters():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    slow, fast = nn.ConvTranspose(6, (4, 4), (2, 2)), UpConv(6)
    variables = slow.init(jax.random.key(1), x)
    variables["params"]["bias"] = jnp.arange(6.0)
    assert jax.tree.map(jnp.shape, fast.init(jax.random.key(1), x)) == jax.tree.map(
        jnp.shape, variables
    )
    weights = jax.random.normal(jax.random.key(2), (2, 6, 10, 6))

    def value_and_gradient(layer):
        def of(variables, x):
            y = layer.apply(variables, x)
            return (weights * y).sum(), y

        with jax.numpy_rank_promotion("allow"):  # flax's bias
            return jax.jit(jax.value_and_grad(of, argnums=(0, 1), has_aux=True))(variables, x)

    for a, b in zip(
        jax.tree.leaves(value_and_gradient(fast)), jax.tree.leaves(value_and_gradient(slow))
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [3, 4])
def test_it_is_torchs_by_a_loop_over_pixels(window):
    """ConvTranspose2d(window, stride=2, padding=1), with output_padding=1 for 3: every input pixel
    adds its kernel to the output from 2 i - 1 on; torch's kernel is turned by 180 degrees."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 4, 2)).astype(np.float32)
    kernel = rng.standard_normal((window, window, 2, 3)).astype(np.float32)
    expected = np.zeros((6, 8, 3))
    for i in range(3):
        for j in range(4):
            for p in range(window):
                for q in range(window):
                    row, column = 2 * i - 1 + p, 2 * j - 1 + q
                    if 0 <= row < 6 and 0 <= column < 8:
                        torchs = kernel[window - 1 - p, window - 1 - q]
                        expected[row, column] += x[0, i, j] @ torchs
    layer = UpConv(3, window=window, use_bias=False)
    found = layer.apply({"params": {"kernel": jnp.asarray(kernel)}}, jnp.asarray(x))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)
