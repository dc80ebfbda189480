"""Keras' bottleneck ResNets: published counts, and the stride where the paper has it."""

import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create


# keras.io/api/applications counts the running statistics, too.
@pytest.mark.parametrize(
    ("depth", "count"), [(50, 25_636_712), (101, 44_707_176), (152, 60_419_944)]
)
def test_variables_number_as_keras_publishes(depth, count):
    model = create(f"resnet{depth}_v1", num_classes=1000)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count
