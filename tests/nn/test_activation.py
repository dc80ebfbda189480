import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from cvjax.nn.activation import ACTIVATIONS, PReLU, activate, initial_weights

X = np.linspace(-4, 4, 41)
# As the papers write them.
FORMULAS = {
    "identity": X,
    "relu": np.maximum(X, 0),
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "elu": np.where(X > 0, X, np.expm1(X)),
    "selu": 1.05070098735548 * np.where(X > 0, X, 1.67326324235437 * np.expm1(X)),
    "gelu": X * special.ndtr(X),
    "silu": X * special.expit(X),
    "tanh": np.tanh(X),
    "sigmoid": special.expit(X),
}


def test_every_name_stands_for_its_formula():
    assert set(FORMULAS) == set(ACTIVATIONS)
    for name, want in FORMULAS.items():
        found = activate(jnp.asarray(X[:, None], jnp.float32), name, name="unused")
        np.testing.assert_allclose(found[:, 0], want, atol=2e-6, err_msg=name)


def test_leaky_slope_is_an_option():
    found = activate(jnp.array([[-10.0, 3.0]]), "leaky_relu", name="unused", negative_slope=0.001)
    np.testing.assert_allclose(found, [[-0.01, 3.0]], rtol=1e-6)


def test_prelu_learns_a_slope_a_channel():
    x = jnp.array([[-2.0, -2.0, 3.0]])
    params = {"slope": jnp.array([0.5, 0.0, 7.0])}
    np.testing.assert_allclose(PReLU().apply({"params": params}, x), [[-1.0, 0.0, 3.0]])
    gradient = jax.grad(lambda p: PReLU().apply({"params": p}, x).sum())(params)["slope"]
    np.testing.assert_allclose(gradient, [-2.0, -2.0, 0.0])  # eq. 10 of He et al. 2015
    np.testing.assert_array_equal(PReLU().init(jax.random.key(0), x)["params"]["slope"], 0.25)


def test_a_shared_slope_is_one_for_all_channels():
    x = jnp.array([[-2.0, -4.0, 3.0]])
    prelu = PReLU(shared=True)
    found = prelu.apply({"params": {"slope": jnp.array([0.5])}}, x)
    np.testing.assert_allclose(found, [[-1.0, -2.0, 3.0]])
    assert prelu.init(jax.random.key(0), x)["params"]["slope"].shape == (1,)


def spread(kind, depth):
    """[depth, 3]: mean, variance and mean square behind every layer of a deep plain network."""

    def layer(x, key):
        weights = initial_weights(kind)(key, (x.shape[-1], x.shape[-1]))
        x = activate(x @ weights, kind, name="unused")
        return x, jnp.stack([x.mean(), x.var(), jnp.square(x).mean()])

    x = jax.random.normal(jax.random.key(0), (256, 256))
    return np.asarray(jax.lax.scan(layer, x, jax.random.split(jax.random.key(1), depth))[1])


def test_selu_keeps_mean_0_and_variance_1_through_100_layers():
    mean, variance, _ = spread("selu", 100).T
    assert np.abs(mean).max() < 0.1
    assert 0.7 < variance.min() <= variance.max() < 1.4


def test_relu_keeps_its_second_moment_under_its_weights():
    # He et al.: the mean square after ReLU stays half of the variance before it, here 1 of 2.
    square = spread("relu", 20)[:, 2]
    assert 0.5 < square.min() <= square.max() < 2


def test_tanh_under_glorot_shrinks_slowly_and_does_not_vanish():
    variance = spread("tanh", 20)[:, 1]
    assert 0.02 < variance[-1] < variance[0] < 0.5
