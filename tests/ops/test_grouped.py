import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import values_and_gradients
from jax import lax

from cvjax.nn.conv import Conv
from cvjax.ops.grouped import grouped_conv

CASES = [
    # groups, channels in and out a group, window, stride, padding, dilation
    (2, 3, 5, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    (13, 8, 8, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),  # the last block is a single group
    (40, 1, 2, (3, 2), (1, 2), "SAME", (1, 1)),
    (3, 20, 4, (1, 1), (1, 1), "VALID", (1, 1)),
    (4, 16, 8, (3, 3), (1, 1), ((0, 2), (3, 1)), (1, 2)),
    (2, 40, 3, (3,), (1,), ((1, 1),), (1,)),
]


def reference(x, kernel, *, stride, padding, dilation):
    """A group at a time, an ordinary convolution each."""
    groups = x.shape[-1] // kernel.shape[-2]
    space = "HW"[: x.ndim - 2]
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1))
    return jnp.concatenate(
        [
            lax.conv_general_dilated(
                part,
                share,
                stride,
                padding,
                rhs_dilation=dilation,
                dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
            )
            for part, share in parts
        ],
        axis=-1,
    )


@pytest.mark.parametrize(
    ("groups", "width", "count", "window", "stride", "padding", "dilation"), CASES, ids=str
)
def test_agrees_with_a_convolution_a_group(groups, width, count, window, stride, padding, dilation):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, *(9, 8)[: len(window)], groups * width))
    kernel = jax.random.normal(keys[1], (*window, width, groups * count))
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    shape = jax.eval_shape(lambda *a: reference(*a, **options), x, kernel).shape
    weight = jax.random.normal(keys[2], shape)
    want = values_and_gradients(lambda *a: reference(*a, **options), (x, kernel), weight)
    got = values_and_gradients(lambda *a: grouped_conv(*a, **options), (x, kernel), weight)
    for mine, theirs, atol in zip(got, want, (1e-4, 1e-3, 1e-3), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=atol)


def test_bfloat16_stays_and_the_layer_takes_it():
    layer = Conv(24, (3, 3), feature_group_count=4, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 12))
    y, variables = layer.init_with_output(jax.random.key(1), x)
    assert y.dtype == jnp.bfloat16
    kernel, x = variables["params"]["kernel"], x.astype(jnp.bfloat16)
    want = reference(
        x.astype(jnp.float32),
        kernel.astype(jnp.bfloat16).astype(jnp.float32),
        stride=(1, 1),
        padding="SAME",
        dilation=(1, 1),
    )
    np.testing.assert_allclose(y.astype(jnp.float32), want, atol=0.02, rtol=0.02)


def test_channels_that_do_not_part_are_an_error():
    around = {"stride": (1, 1), "padding": "SAME", "dilation": (1, 1)}
    with pytest.raises(ValueError, match="5 channels in and 4 out do not part into groups of 2"):
        grouped_conv(jnp.zeros((1, 4, 4, 5)), jnp.zeros((3, 3, 2, 4)), **around)
