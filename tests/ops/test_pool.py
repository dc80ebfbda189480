import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import values_and_gradients
from jax import lax

from cvjax.ops.pool import adaptive_avg_pool, avg_pool, global_avg_pool, max_pool

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
GOLDEN = np.load(FOLDER / "torch_pool.npz")
CASES = json.loads(str(GOLDEN["cases"]))
STEM = {"window": 3, "stride": 2, "padding": 1}


@pytest.mark.sampled(10)
@pytest.mark.parametrize("i", np.random.default_rng(0).permutation(len(CASES)))
def test_max_and_average_agree_with_torch(i):
    name, options = CASES[i]
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    pool = {"max_pool": max_pool, "avg_pool": avg_pool}[name.removesuffix("2d")]
    got = pool(jnp.asarray(GOLDEN["input"]), **options)
    # A maximum is copied; a mean of up to 169 values is rounded in another order.
    atol = 0 if name.startswith("max") else 2e-7
    np.testing.assert_allclose(got, GOLDEN[f"out{i}"], rtol=0, atol=atol)


@pytest.mark.parametrize(
    "options",
    [
        STEM,
        {"window": 2},
        {"window": 5, "stride": 1, "padding": 2},
        {"window": 3, "stride": 1, "padding": 1},
        {"window": 3, "stride": 2, "ceil_mode": True},  # a last window leaves the image
        {"window": 2, "stride": 3},  # places that no window sees, and a border that is cut off
    ],
    ids=str,
)
def test_gradient_goes_to_the_first_of_equal_values(options):
    # Few distinct values: nearly every window has ties.
    x = jax.random.randint(jax.random.key(0), (2, 8, 10, 3), 0, 3).astype(jnp.float32)
    shape = jax.eval_shape(lambda x: max_pool(x, **options), x).shape
    weight = jax.random.normal(jax.random.key(1), shape)
    _, got = values_and_gradients(lambda x: max_pool(x, **options), (x,), weight)
    np.testing.assert_allclose(got, loop_gradient(x, weight, **options), atol=1e-6)


def test_cpu_lowering_agrees_with_reduce_window():
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 3))
    weight = jax.random.normal(jax.random.key(1), (2, 5, 5, 3))

    def windowed(x):
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)

    got = values_and_gradients(lambda x: max_pool(x, **STEM), (x,), weight)
    want = values_and_gradients(windowed, (x,), weight)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], atol=1e-6)


@pytest.mark.parametrize("options", [STEM, {"window": 2}], ids=str)
def test_nan_in_a_window_is_its_maximum(options):
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(jnp.nan)
    y = max_pool(x.at[0, 1, 2, 0].set(9), **options)
    assert jnp.isnan(y[0, 0, 0, 0])


def test_padding_never_wins_and_bfloat16_stays_bfloat16():
    y = max_pool(jnp.full((1, 4, 4, 1), -5, jnp.bfloat16), **STEM)
    assert y.dtype == jnp.bfloat16
    assert (y == -5).all()


def test_pooling_takes_second_derivatives():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 1))
    slope = jax.grad(lambda x: (max_pool(x, window=2) ** 2).sum())
    hessian = jax.jacrev(slope)(x).reshape(16, 16)
    # Each of the four maxima is squared: 2 on its own place of the diagonal, 0 elsewhere.
    assert np.trace(hessian) == 8
    assert np.abs(hessian).sum() == 8


def test_window_that_does_not_fit_is_an_error():
    x = jnp.zeros((1, 2, 5, 1))
    with pytest.raises(ValueError, match="window of 3 does not fit"):
        max_pool(x, window=3)
    with pytest.raises(ValueError, match="more than half"):
        avg_pool(x, window=2, padding=2)


def test_global_average_takes_any_size_and_sums_in_float32():
    x = jnp.full((1, 64, 65, 2), 0.1, jnp.bfloat16)
    np.testing.assert_array_equal(global_avg_pool(x), jnp.full((1, 2), 0.1, jnp.bfloat16))


def test_adaptive_average_agrees_with_torch():
    golden = np.load(FOLDER / "torch_adaptive_avg_pool.npz")
    x = jnp.asarray(golden["input"])
    for i, case in enumerate(json.loads(str(golden["cases"]))):
        size = case["output_size"]
        got = adaptive_avg_pool(x, tuple(size) if isinstance(size, list) else size)
        # A mean of up to 180 values is rounded in another order.
        np.testing.assert_allclose(got, golden[f"out{i}"], rtol=0, atol=2e-7, err_msg=str(case))


def test_adaptive_average_to_one_is_global_and_to_the_same_size_nothing():
    x = jax.random.normal(jax.random.key(0), (2, 5, 7, 3), jnp.bfloat16)
    np.testing.assert_array_equal(adaptive_avg_pool(x, 1)[:, 0, 0], global_avg_pool(x))
    np.testing.assert_array_equal(adaptive_avg_pool(x, (5, 7)), x)


def test_adaptive_average_keeps_bins_without_infinities_finite():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(jnp.inf)
    y = adaptive_avg_pool(x, 2)[0, :, :, 0]
    np.testing.assert_array_equal(y, [[np.inf, 0], [0, 0]])


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_of_an_average_agrees_with_reduce_window(stride):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))

    def windowed(x):
        pads, strides = ((0, 0), (1, 1), (1, 1), (0, 0)), (1, stride, stride, 1)
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), strides, pads) / 9

    weight = jax.random.normal(jax.random.key(1), jax.eval_shape(windowed, x).shape)
    got = values_and_gradients(
        lambda x: avg_pool(x, window=3, stride=stride, padding=1), (x,), weight
    )
    for mine, theirs in zip(got, values_and_gradients(windowed, (x,), weight), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_overlapping_windows_take_second_derivatives():
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 2))
    direction = jax.random.normal(jax.random.key(1), x.shape)

    def slope(x):
        return (jax.grad(lambda x: (max_pool(x, **STEM) ** 3).sum())(x) * direction).sum()

    step = 1e-2 * direction  # too short to change a winner
    slope = jax.jit(slope)
    numeric = (slope(x + step) - slope(x - step)) / 2e-2
    np.testing.assert_allclose((jax.grad(slope)(x) * direction).sum(), numeric, rtol=1e-3)


def loop_gradient(x, weight, *, window, stride=None, padding=0, ceil_mode=False):
    stride = stride or window
    x, weight = np.asarray(x), np.asarray(weight)
    grad = np.zeros_like(x)
    for b, i, j, c in np.ndindex(*weight.shape):
        places = [
            (y, z)
            for y in range(i * stride - padding, i * stride - padding + window)
            for z in range(j * stride - padding, j * stride - padding + window)
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]
        ]
        first = max(places, key=lambda place: x[b, *place, c])
        grad[b, *first, c] += weight[b, i, j, c]
    return grad
