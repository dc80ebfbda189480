import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.nn.attention import SelfAttention
from cvjax.nn.mlp import Mlp

X = jax.random.normal(jax.random.key(0), (2, 5, 6))
BIAS = jax.random.normal(jax.random.key(1), (1, 3, 5, 5))


def variables_of(module, x=X):
    """Random ones, biases included."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32) / 2, shapes)


def loops(params, x, heads, bias=None):
    """Float64, one query and one head at a time."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    x = np.asarray(x, np.float64)
    width = x.shape[-1]
    size = width // heads
    out = np.zeros_like(x)
    for b, tokens in enumerate(x):
        qkv = tokens @ params["qkv"]["kernel"] + params["qkv"]["bias"]
        q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for t in range(len(tokens)):
                scores = np.array([q[t, part] @ key / size**0.5 for key in k[:, part]])
                if bias is not None:
                    scores += np.asarray(bias)[0 if len(bias) == 1 else b, h, t]
                weights = np.exp(scores - scores.max())
                out[b, t, part] = (weights / weights.sum()) @ v[:, part]
    return out @ params["proj"]["kernel"] + params["proj"]["bias"]


@pytest.mark.parametrize("bias", [None, BIAS, jnp.concatenate([BIAS, 2 * BIAS])])
@pytest.mark.parametrize("train", [False, True])
def test_attention_is_the_formula(bias, train):
    # At this rate nothing is dropped, but training goes the way that can drop.
    module = SelfAttention(heads=3, attention_dropout=1e-9)
    variables = variables_of(module)
    rngs = {"dropout": jax.random.key(2)}
    found = module.apply(variables, X, train=train, bias=bias, rngs=rngs)
    want = loops(variables["params"], X, 3, bias)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_minus_infinity_hides_a_token():
    bias = jnp.zeros((1, 3, 5, 5)).at[..., 4].set(-jnp.inf)
    module = SelfAttention(heads=3)
    variables = variables_of(module)
    whole = module.apply(variables, X, train=False, bias=bias)
    fewer = module.apply(variables, X[:, :4], train=False)
    np.testing.assert_allclose(whole[:, :4], fewer, rtol=0, atol=1e-5)


@pytest.mark.parametrize("field", ["dropout", "attention_dropout"])
def test_dropouts_act_in_training_only(field):
    module = SelfAttention(heads=3, **{field: 0.5})
    variables = variables_of(module)
    calm = SelfAttention(heads=3).apply(variables, X, train=False)
    np.testing.assert_array_equal(module.apply(variables, X, train=False), calm)
    draw = [
        module.apply(variables, X, train=True, rngs={"dropout": jax.random.key(i)})
        for i in range(2)
    ]
    assert not np.allclose(draw[0], calm)
    assert not np.allclose(draw[0], draw[1])


def test_bfloat16_softmax_is_float32():
    module = SelfAttention(heads=3, dtype=jnp.bfloat16)
    variables = variables_of(module)
    found = module.apply(variables, X, train=False)
    assert found.dtype == jnp.bfloat16
    jaxpr = jax.make_jaxpr(lambda x: module.apply(variables, x, train=False))(X)
    exps = [line for line in str(jaxpr).splitlines() if " exp " in line]
    assert exps
    assert all(":f32[" in line for line in exps)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="4 heads do not divide a width of 6"):
        variables_of(SelfAttention(heads=4))


def test_mlp_is_two_layers_around_a_gelu():
    module = Mlp(hidden=7)
    variables = variables_of(module)
    first, second = (variables["params"][name] for name in ("fc1", "fc2"))
    hidden = np.asarray(X) @ first["kernel"] + first["bias"]
    erf = np.vectorize(math.erf)
    hidden = hidden * 0.5 * (1 + erf(hidden / 2**0.5))
    want = hidden @ second["kernel"] + second["bias"]
    np.testing.assert_allclose(module.apply(variables, X, train=False), want, rtol=0, atol=1e-5)


def test_mlp_dropout_acts_in_training_only():
    module = Mlp(hidden=7, dropout=0.5)
    variables = variables_of(module)
    calm = Mlp(hidden=7).apply(variables, X, train=True)
    np.testing.assert_array_equal(module.apply(variables, X, train=False), calm)
    noisy = module.apply(variables, X, train=True, rngs={"dropout": jax.random.key(0)})
    assert not np.allclose(noisy, calm)
