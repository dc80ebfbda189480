import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cvjax.nn.squeeze_excite import SqueezeExcite

X = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)


def test_gate_is_two_dense_layers_on_the_mean_of_each_channel():
    module = SqueezeExcite(width=3, activation=nn.silu, gate=nn.hard_sigmoid)
    params = module.init(jax.random.key(0), jnp.asarray(X))
    reduce, expand = (jax.device_get(params["params"][name]) for name in ("reduce", "expand"))
    want = np.empty_like(X)
    for b, image in enumerate(X):
        mean = np.array([image[:, :, c].sum() / 15 for c in range(4)])
        squeezed = mean @ reduce["kernel"] + reduce["bias"]
        squeezed = squeezed / (1 + np.exp(-squeezed))
        gate = np.clip((squeezed @ expand["kernel"] + expand["bias"]) / 6 + 0.5, 0, 1)
        want[b] = image * gate
    np.testing.assert_allclose(module.apply(params, jnp.asarray(X)), want, atol=1e-6)


def test_zero_weights_leave_half_of_everything():
    module = SqueezeExcite(width=1)
    params = jax.tree.map(jnp.zeros_like, module.init(jax.random.key(0), jnp.asarray(X)))
    np.testing.assert_array_equal(module.apply(params, jnp.asarray(X)), X / 2)


def test_bfloat16_maps_stay_bfloat16_over_float32_parameters():
    module = SqueezeExcite(width=2, dtype=jnp.bfloat16)
    out, params = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), jnp.zeros(X.shape, jnp.bfloat16))
    )
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
