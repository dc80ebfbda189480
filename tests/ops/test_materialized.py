"""A value written to memory is the value, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.ops.materialized import materialized


def test_derivatives_and_batches_pass_through():
    x = jnp.arange(1.0, 4.0)
    value, tangent = jax.jvp(lambda x: materialized(x**2), (x,), (jnp.ones(3),))
    np.testing.assert_allclose(value, x**2)
    np.testing.assert_allclose(tangent, 2 * x)
    np.testing.assert_allclose(jax.grad(lambda x: materialized(x**3).sum())(x), 3 * x**2)
    rows = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(jax.jit(jax.vmap(materialized))(rows), rows)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other compilers fuse otherwise")
@pytest.mark.parametrize("transform", [lambda f: f, jax.vmap, jax.grad])
def test_the_compiler_cannot_fuse_it_away(transform):
    def compiled(keep):
        def squares(x):
            y = keep(jnp.sin(x) * 3 + 1)
            return (y[1:] * y[:-1]).sum()

        return jax.jit(transform(squares)).lower(jnp.ones((8, 8))).compile().as_text()

    assert " conditional(" in compiled(materialized)
    barrier = compiled(jax.lax.optimization_barrier)  # would be the plain way
    assert " conditional(" not in barrier
    assert "opt-barrier" not in barrier
