import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cvjax.nn.remat import apply_block


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return jnp.sin(nn.Dense(3, name="dense")(x)) if train else x


class Net(nn.Module):
    remat: bool

    @nn.compact
    def __call__(self, x):
        return apply_block(Block(name="block"), x, train=True, remat=self.remat)


def test_names_values_and_gradients_stay_and_the_sine_is_computed_twice():
    x = jax.random.normal(jax.random.key(0), (2, 3))
    variables = Net(remat=False).init(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, Net(remat=True).init(jax.random.key(1), x)) == jax.tree.map(
        jnp.shape, variables
    )
    results, programs = [], []
    for remat in (False, True):
        net = Net(remat=remat)
        gradient = jax.grad(lambda v, net=net: net.apply(v, x).sum())
        results.append(gradient(variables))
        programs.append(str(jax.make_jaxpr(gradient)(variables)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *results)
    assert ["remat" in text or "checkpoint" in text for text in programs] == [False, True]
