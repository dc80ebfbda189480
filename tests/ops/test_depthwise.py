import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cvjax.ops.depthwise import depthwise_conv

CASES = [
    # window, stride, padding, dilation
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((5, 5), (2, 2), "SAME", (1, 1)),
    ((5, 4), (3, 2), ((0, 3), (5, 0)), (1, 2)),
    ((3, 2), (1, 3), ((2, 0), (0, 1)), (2, 1)),
    ((3, 3), (2, 2), "VALID", (2, 2)),
]


def draw(window, shape=(2, 9, 10, 3)):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (*window, 1, shape[-1]))
    return x, kernel


def loop(x, kernel, stride, pads, dilation):
    """Correlation by its definition, in float64."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *pads, (0, 0)))
    height, width = kernel.shape[:2]
    reach = [d * (w - 1) + 1 for d, w in zip(dilation, (height, width))]
    rows, columns = ((n - r) // s + 1 for n, r, s in zip(x.shape[1:3], reach, stride))
    y = np.zeros((x.shape[0], rows, columns, x.shape[-1]))
    for i, j in np.ndindex(rows, columns):
        for u, v in np.ndindex(height, width):
            pixel = x[:, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
            y[:, i, j] += pixel * np.asarray(kernel)[u, v, 0]
    return y


def reference(x, kernel, stride, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@pytest.mark.parametrize(("window", "stride", "padding", "dilation"), CASES, ids=str)
def test_depthwise_conv_matches_a_double_loop(window, stride, padding, dilation):
    x, kernel = draw(window)
    pads = padding
    if isinstance(padding, str):
        reach = [d * (w - 1) + 1 for d, w in zip(dilation, window)]
        pads = lax.padtype_to_pads(x.shape[1:3], reach, stride, padding)
    got = depthwise_conv(x, kernel, stride=stride, padding=padding, dilation=dilation)
    np.testing.assert_allclose(got, loop(x, kernel, stride, pads, dilation), atol=1e-5)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("window", "stride", "padding", "dilation"), CASES, ids=str)
def test_gradients_match_those_of_xlas_convolution(window, stride, padding, dilation):
    x, kernel = draw(window)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    y, pull = jax.vjp(lambda x, k: depthwise_conv(x, k, **options), x, kernel)
    _, pull_reference = jax.vjp(lambda x, k: reference(x, k, **options), x, kernel)
    cotangent = jax.random.normal(jax.random.key(2), y.shape)
    for got, want in zip(pull(cotangent), pull_reference(cotangent)):
        np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("window", [(3, 2), (5, 3)], ids=str)
def test_second_derivatives_match_those_of_xlas_convolution(window):
    x, kernel = draw(window, (1, 6, 4, 2))
    options = {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "dilation": (1, 1)}

    def steepness(convolve):
        def total(x, kernel):
            return (convolve(x, kernel, **options) ** 3).sum()

        def squares(x, kernel):
            return sum((g**2).sum() for g in jax.grad(total, (0, 1))(x, kernel))

        return jax.jit(jax.grad(squares, (0, 1)))(x, kernel)

    for got, want in zip(steepness(depthwise_conv), steepness(reference)):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-2)


def test_sums_are_float32_whatever_the_type():
    x, kernel = draw((5, 5), (1, 16, 16, 4))
    options = {"stride": (1, 1), "padding": "SAME", "dilation": (1, 1)}
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    got = depthwise_conv(x, kernel, **options)
    assert got.dtype == jnp.bfloat16
    exact = depthwise_conv(x.astype(jnp.float32), kernel.astype(jnp.float32), **options)
    np.testing.assert_array_equal(got, exact.astype(jnp.bfloat16))


def test_one_and_three_axes_work_alike():
    for ndim, letters in ((1, "W"), (3, "DHW")):
        x = jax.random.normal(jax.random.key(0), (2, *(6, 5, 7)[:ndim], 4))
        kernel = jax.random.normal(jax.random.key(1), (*(3,) * ndim, 1, 4))
        got = depthwise_conv(
            x, kernel, stride=(2,) * ndim, padding=[(1, 1)] * ndim, dilation=(1,) * ndim
        )
        want = lax.conv_general_dilated(
            x,
            kernel,
            (2,) * ndim,
            [(1, 1)] * ndim,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=4,
        )
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_accelerators_keep_xlas_convolution():
    x, kernel = draw((3, 3))

    def run(x, kernel):
        return depthwise_conv(x, kernel, stride=(1, 1), padding="SAME", dilation=(1, 1))

    for platform, count in (("cpu", 0), ("cuda", 1)):
        lowered = jax.jit(run).trace(x, kernel).lower(lowering_platforms=(platform,))
        assert lowered.as_text().count("stablehlo.convolution") == count
