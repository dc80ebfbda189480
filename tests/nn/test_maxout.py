import jax
import jax.numpy as jnp
import numpy as np

from cvjax.nn.maxout import Maxout


def test_it_is_the_largest_of_its_linear_maps():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    layer = Maxout(4, pieces=3)
    params = layer.init(jax.random.key(1), x)["params"]
    params["pieces"]["bias"] = jnp.arange(12.0) / 6
    y = layer.apply({"params": params}, x)
    kernel, bias = (np.asarray(params["pieces"][name]) for name in ("kernel", "bias"))
    for i in range(5):
        for unit in range(4):
            maps = [np.dot(x[i], kernel[:, 3 * unit + j]) + bias[3 * unit + j] for j in range(3)]
            np.testing.assert_allclose(y[i, unit], max(maps), atol=1e-5)


def test_two_maps_can_be_relu_and_the_absolute_value():
    x = jnp.linspace(-2, 2, 9)[:, None]
    for pieces, want in (([1.0, 0.0], jax.nn.relu(x)), ([1.0, -1.0], jnp.abs(x))):
        params = {"pieces": {"kernel": jnp.array([pieces]), "bias": jnp.zeros(2)}}
        np.testing.assert_array_equal(Maxout(1).apply({"params": params}, x), want)
