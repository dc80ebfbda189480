"""A value written to memory is the value, for any witness, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.materialized import materialized


@pytest.mark.parametrize("bits", [0, 1, -1, 0x7FC00000, 0x7F800000, -0x80000000])  # 0, NaN, inf, -0
def test_no_witness_changes_the_value(bits):
    witness = jax.lax.bitcast_convert_type(jnp.full((2, 3), bits, jnp.int32), jnp.float32)
    x = jnp.arange(6.0)
    np.testing.assert_array_equal(jax.jit(materialized)(x, witness), x)


def test_derivatives_and_batches_pass_through():
    x, witness = jnp.arange(1.0, 4.0), jnp.ones((2, 2), jnp.bfloat16)
    value, tangent = jax.jvp(lambda x: materialized(x**2, witness), (x,), (jnp.ones(3),))
    np.testing.assert_allclose(value, x**2)
    np.testing.assert_allclose(tangent, 2 * x)
    np.testing.assert_allclose(jax.grad(lambda x: materialized(x**3, witness).sum())(x), 3 * x**2)
    rows = jnp.arange(6.0).reshape(2, 3)
    witnesses = jnp.zeros((2, 4))
    np.testing.assert_array_equal(jax.vmap(materialized)(rows, witnesses), rows)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other compilers fuse otherwise")
def test_the_compiler_cannot_fuse_it_away():
    def twice(x, witness, keep):
        y = keep(x * 3 + 1, witness)
        return y[1:] + y[:-1]

    def compiled(keep):
        arguments = jnp.ones((8, 8)), jnp.ones(1)
        return jax.jit(lambda x, w: twice(x, w, keep)).lower(*arguments).compile().as_text()

    assert " conditional(" in compiled(materialized)
    barrier = compiled(lambda y, w: jax.lax.optimization_barrier(y))
    assert " conditional(" not in barrier  # a barrier would be the plain way
    assert "opt-barrier" not in barrier
