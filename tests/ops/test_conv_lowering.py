"""The convolution whose kernel gradient is a sum of matrix products, against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cvjax.nn.conv import Conv
from cvjax.ops.conv_lowering import DIMENSIONS, conv_general_dilated

# batch, side, channels, features, window, stride, padding: on both sides of every threshold
CASES = [
    (4, 16, 64, 64, 3, 1, ((1, 1), (1, 1))),
    (4, 17, 64, 32, 3, 2, ((1, 1), (1, 1))),
    (6, 8, 128, 64, 1, 1, ((0, 0), (0, 0))),
    (3, 12, 16, 32, 3, 1, "SAME"),
    (4, 33, 16, 32, 5, 2, "VALID"),
    (4, 9, 3, 64, 7, 2, ((3, 3), (2, 3))),
    (2, 2, 64, 64, 3, 1, "SAME"),
    (64, 32, 8, 32, 3, 1, "SAME"),  # cut into chunks
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_are_those_of_xla(case):
    batch, side, channels, features, window, stride, padding = case
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch, side, side, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(window, window, channels, features)), jnp.float32)

    def value_and_gradients(conv):
        def loss(x, kernel):
            y = conv(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
            return jnp.sin(y).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x, kernel)

    value, (dx, dkernel) = value_and_gradients(conv_general_dilated)
    expected, (dx_expected, dkernel_expected) = value_and_gradients(lax.conv_general_dilated)
    assert value == expected
    np.testing.assert_array_equal(dx, dx_expected)
    # The same sum in another order: float32 rounding of up to batch * places terms.
    scale = float(jnp.abs(dkernel_expected).max())
    np.testing.assert_allclose(dkernel, dkernel_expected, rtol=0, atol=5e-6 * scale)


def test_layer_has_the_parameters_and_outputs_of_flax():
    from flax import linen as nn

    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 16))
    ours, flax = (cls(32, (3, 3), strides=2, padding=1) for cls in (Conv, nn.Conv))
    variables = flax.init(jax.random.key(1), x)
    same = jax.tree.map(jnp.array_equal, variables, ours.init(jax.random.key(1), x))
    assert all(jax.tree.leaves(same))
    np.testing.assert_array_equal(ours.apply(variables, x), flax.apply(variables, x))
