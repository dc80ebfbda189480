import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.norm import BatchNorm

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torch_batch_norm.npz")


@pytest.mark.parametrize(("case", "momentum", "epsilon"), [("00", 0.9, 1e-5), ("01", 0.99, 1e-3)])
def test_three_training_steps_and_evaluation_agree_with_torch(case, momentum, epsilon):
    norm = BatchNorm(momentum=momentum, epsilon=epsilon)
    get = {k[2:]: GOLDEN[k] for k in GOLDEN.files if k.startswith(case)}
    # NumPy's arrays, as weights are that were read from a file.
    params = {"scale": get["weight"], "bias": get["bias"]}
    stats = {"mean": get["running_mean"], "var": get["running_var"]}
    tolerance = {"rtol": 0, "atol": 2e-6}  # a few float32 roundings of values below 10
    for i in range(3):
        variables = {"params": params, "batch_stats": stats}
        y, updated = norm.apply(
            variables, jnp.asarray(get[f"x{i}"]), use_running_average=False, mutable=["batch_stats"]
        )
        stats = updated["batch_stats"]
        np.testing.assert_allclose(y, get[f"y{i}"], **tolerance)
        np.testing.assert_allclose(stats["mean"], get[f"running_mean{i}"], **tolerance)
        np.testing.assert_allclose(stats["var"], get[f"running_var{i}"], **tolerance)
    y = norm.apply(
        {"params": params, "batch_stats": jax.tree.map(np.asarray, stats)},
        jnp.asarray(get["x0"]),
        use_running_average=True,
    )
    np.testing.assert_allclose(y, get["y_eval"], **tolerance)


def test_large_mean_leaves_the_variance_exact():
    x = 4096 + jax.random.normal(jax.random.key(0), (64, 4, 4, 3))
    variables = BatchNorm().init(jax.random.key(0), x, use_running_average=False)
    y, _ = BatchNorm().apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    exact = np.asarray(x, np.float64)
    want = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    # The mean of 1,024 values near 4,096 is good to 1e-3 in float32; E[x^2] - E[x]^2 to no digit.
    np.testing.assert_allclose(y, want, atol=5e-3)


def test_gradient_is_that_of_the_formula():
    x = jax.random.normal(jax.random.key(0), (6, 3))
    weight = jax.random.normal(jax.random.key(1), x.shape)
    variables = BatchNorm().init(jax.random.key(0), x, use_running_average=False)

    def loss(x):
        y, _ = BatchNorm().apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        return (y * weight).sum()

    def plain(x):
        centred = x - x.mean(0, keepdims=True)
        return (weight * centred / jnp.sqrt((centred**2).mean(0, keepdims=True) + 1e-5)).sum()

    np.testing.assert_allclose(jax.grad(loss)(x), jax.grad(plain)(x), atol=1e-5)


def test_bfloat16_compute_keeps_float32_statistics():
    x = jnp.ones((4, 2, 2, 3), jnp.bfloat16)
    norm = BatchNorm(dtype=jnp.bfloat16)
    variables = norm.init(jax.random.key(0), x, use_running_average=False)
    y, updated = norm.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype("float32")}


def test_one_value_per_channel_is_an_error():
    x = jnp.ones((1, 1, 1, 3))
    variables = BatchNorm().init(jax.random.key(0), x, use_running_average=False)
    with pytest.raises(ValueError, match="one value per channel"):
        BatchNorm().apply(variables, x, use_running_average=False, mutable=["batch_stats"])


def test_statistics_are_global_over_devices():
    program = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from cvjax.nn.norm import BatchNorm
x = jax.random.normal(jax.random.key(0), (8, 2, 2, 3))
variables = BatchNorm().init(jax.random.key(0), x, use_running_average=False)
step = jax.jit(
    lambda x: BatchNorm().apply(variables, x, use_running_average=False, mutable=["batch_stats"])
)
mesh = Mesh(np.array(jax.devices()), ("data",))
assert mesh.size == 2
sharded = step(jax.device_put(x, NamedSharding(mesh, P("data"))))
for a, b in zip(jax.tree.leaves(step(x)), jax.tree.leaves(sharded)):
    np.testing.assert_allclose(a, b, atol=1e-6)
"""
    env = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env=env)
