import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import values_and_gradients
from flax import linen as nn
from jax import lax

from cvjax.nn.conv import Conv
from cvjax.nn.dense import Dense
from cvjax.ops.channel_products import dense_product, pointwise_conv


def reference(x, kernel, stride):
    return jnp.einsum("bhwc,ck->bhwk", x[:, :: stride[0], :: stride[1]], kernel[0, 0])


# The last kernel is large: its input's gradient is a product, the others' a convolution.
@pytest.mark.parametrize(
    ("stride", "channels"),
    [((1, 1), (5, 4)), ((2, 1), (5, 4)), ((3, 2), (5, 4)), ((3, 2), (512, 600))],
    ids=str,
)
def test_value_and_gradients_are_those_of_a_matrix_product(stride, channels):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 6, channels[0]), np.float32)
    kernel = rng.standard_normal((1, 1, *channels), np.float32) / np.sqrt(channels[0] / 5)
    weight = rng.standard_normal(reference(x, kernel, stride).shape, np.float32)
    got = values_and_gradients(lambda *a: pointwise_conv(*a, stride=stride), (x, kernel), weight)
    want = values_and_gradients(lambda *a: reference(*a, stride), (x, kernel), weight)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_gradients_have_gradients():
    x, kernel = jax.random.normal(jax.random.key(0), (1, 3, 3, 2)), jnp.ones((1, 1, 2, 3))

    def penalty(conv):
        def loss(kernel, x):
            return (jax.grad(lambda x: (conv(x, kernel) ** 3).sum())(x) ** 2).sum()

        return jax.grad(loss)(kernel, x)

    got = penalty(lambda x, kernel: pointwise_conv(x, kernel, stride=(1, 1)))
    want = penalty(lambda x, kernel: reference(x, kernel, (1, 1)))
    np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize("places", [(6,), (2, 7), (2, 3, 4)], ids=str)
def test_dense_value_and_gradients_are_those_of_a_matrix_product(places):
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], (*places, 5)), jax.random.normal(keys[1], (5, 4))
    got, pull = jax.vjp(dense_product, x, kernel)
    want, pull_reference = jax.vjp(
        lambda x, kernel: jnp.einsum("...c,ck->...k", x, kernel), x, kernel
    )
    np.testing.assert_allclose(got, want, atol=1e-5)
    weight = jax.random.normal(keys[2], want.shape)
    for mine, theirs in zip(pull(weight), pull_reference(weight)):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_the_dense_layer_has_flax_parameters_types_and_a_batch_of_none():
    layer = Dense(4, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (3, 5))
    y, variables = layer.init_with_output(jax.random.key(1), x)
    plain = nn.Dense(4, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(y, plain.apply(variables, x))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(layer.apply(variables, x[0]), plain.apply(variables, x[0]))
    batched = jax.vmap(lambda x: layer.apply(variables, x))(x)
    np.testing.assert_allclose(batched.astype(jnp.float32), y.astype(jnp.float32), rtol=0.01)


@pytest.mark.parametrize(
    ("strides", "padding"), [(2, "SAME"), (1, "VALID"), (2, 0), (2, ((1, 0), (0, 2)))], ids=str
)
def test_the_layer_agrees_with_a_convolution(strides, padding):
    layer = Conv(4, (1, 1), strides=strides, padding=padding)
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 5))
    y, variables = layer.init_with_output(jax.random.key(1), x)
    want = lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (strides, strides),
        ((0, 0), (0, 0)) if padding == 0 else padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(y, want, atol=1e-5)
