import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.nn.conv_norm import ConvNorm

KEY = jax.random.key(0)
MAP = jax.random.normal(KEY, (2, 9, 7, 4))


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (9, 7)),
        ({"window": 3}, (9, 7)),
        ({"window": (1, 7)}, (9, 7)),
        ({"window": 3, "stride": 2}, (5, 4)),
        ({"window": 3, "padding": 0}, (7, 5)),
        ({"window": (7, 1), "stride": (2, 1), "padding": (0, 1)}, (2, 9)),
    ],
)
def test_sizes_follow_window_stride_and_padding(fields, size):
    block = ConvNorm(6, **fields)
    found = jax.eval_shape(lambda: block.init_with_output(KEY, MAP, train=False)[0])
    assert found.shape == (2, *size, 6)


@pytest.mark.parametrize("train", [False, True])
def test_it_is_a_convolution_then_a_normalisation_then_a_nonlinearity(train):
    block = ConvNorm(6, window=3, groups=2, activation=nn.silu, epsilon=0.25)
    variables = jax.jit(lambda: block.init(KEY, MAP, train=False))()
    assert set(variables["params"]) == {"conv", "norm"}
    kernel = variables["params"]["conv"]["kernel"]
    assert kernel.shape == (3, 3, 2, 6)
    found, _ = block.apply(variables, MAP, train=train, mutable=["batch_stats"])
    halves = [
        jax.lax.conv_general_dilated(
            MAP[..., 2 * i : 2 * i + 2],
            kernel[..., 3 * i : 3 * i + 3],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for i in range(2)
    ]
    y = np.concatenate(halves, axis=-1)
    mean, var = (y.mean((0, 1, 2)), y.var((0, 1, 2))) if train else (np.zeros(6), np.ones(6))
    y = (y - mean.reshape(1, 1, 1, 6)) / np.sqrt(var.reshape(1, 1, 1, 6) + 0.25)
    np.testing.assert_allclose(found, y / (1 + np.exp(-y)), rtol=1e-4, atol=1e-5)


def test_bfloat16_compute_keeps_float32_parameters():
    block = ConvNorm(6, dtype=jnp.bfloat16)
    found, variables = jax.eval_shape(lambda: block.init_with_output(KEY, MAP, train=False))
    assert found.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
