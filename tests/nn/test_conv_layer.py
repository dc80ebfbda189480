import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.nn.conv import Conv

X = jax.random.normal(jax.random.key(0), (2, 8, 9, 6))


@pytest.mark.parametrize(
    "fields",
    [
        {"features": 4},
        {"features": 6, "feature_group_count": 6},
        {"features": 6, "feature_group_count": 6, "strides": 2, "padding": 1},
        {"features": 6, "feature_group_count": 6, "kernel_dilation": 2, "use_bias": False},
        {"features": 6, "feature_group_count": 6, "padding": "CIRCULAR", "strides": (1, 2)},
        {"features": 6, "feature_group_count": 6, "padding": ((0, 1), (2, 1))},
        {"features": 6, "feature_group_count": 6, "input_dilation": 2, "padding": 1},
        {"features": 12, "feature_group_count": 6},
        {"features": 6, "feature_group_count": 2},
        {"features": 6, "feature_group_count": 6, "dtype": jnp.bfloat16},
    ],
    ids=str,
)
def test_conv_has_flaxs_parameters_and_results(fields):
    ours, theirs = Conv(kernel_size=(3, 3), **fields), nn.Conv(kernel_size=(3, 3), **fields)
    got, variables = ours.init_with_output(jax.random.key(1), X)
    want, expected = theirs.init_with_output(jax.random.key(1), X)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert got.dtype == want.dtype
    # bfloat16 has 8 bits, and the reference may round between the taps.
    tolerance = 5e-2 if got.dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(
        got.astype(jnp.float32), want.astype(jnp.float32), rtol=0, atol=tolerance
    )


def test_one_example_and_more_batch_axes_are_legal():
    layer = Conv(6, (3, 3), feature_group_count=6)
    variables = layer.init(jax.random.key(1), X)
    whole = layer.apply(variables, X)
    np.testing.assert_allclose(layer.apply(variables, X[0]), whole[0], atol=1e-6)
    np.testing.assert_allclose(layer.apply(variables, X[None])[0], whole, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(lambda x: layer.apply(variables, x))(X), whole, atol=1e-6)
