import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cvjax.models import create
from cvjax.models.classifiers.inception_resnet_v2 import ResidualBlock
from cvjax.nn.inception import Conv

KEY = jax.random.key(0)


def shapes(model, size=299):
    """(variables, logits, features) as shapes; nothing is computed."""

    def both():
        x = jnp.zeros((2, size, size, 3))
        variables = model.init(KEY, x, train=False)
        return variables, *model.apply(variables, x, train=False)

    return jax.eval_shape(both)


@pytest.fixture(scope="module")
def whole():
    return shapes(create("inception_resnet_v2", num_classes=1000))


def test_it_has_timms_parameters(whole):
    assert sum(leaf.size for leaf in jax.tree.leaves(whole[0]["params"])) == 55_843_464


def test_maps_have_the_sizes_of_the_papers_figures(whole):
    assert {name: map_.shape[1:] for name, map_ in whole[2].items()} == {
        "stride2": (147, 147, 64),
        "stride4": (71, 71, 192),
        "stride8": (35, 35, 320),
        "stride16": (17, 17, 1088),
        "stride32": (8, 8, 1536),
        "pooled": (1536,),
    }


def test_a_block_adds_its_scaled_residual():
    x = jax.random.normal(KEY, (2, 5, 5, 4))
    branches = ((Conv(3),), (Conv(2), Conv(3, 3)))

    def run(scale, relu):
        block = ResidualBlock(branches, scale=scale, relu=relu)
        return block.init_with_output(KEY, x, train=False)[0]

    def all_three():
        return run(1.0, False), run(0.17, False), run(0.17, True)

    whole, scaled, cut = jax.jit(all_three)()
    assert np.abs(whole - x).max() > 0.1
    np.testing.assert_allclose(scaled, x + 0.17 * (whole - x), atol=1e-5)
    np.testing.assert_allclose(cut, np.maximum(scaled, 0), atol=1e-6)


def test_only_the_last_block_has_neither_scaling_nor_relu():
    blocks = []

    def record(next_function, args, kwargs, context):
        if isinstance(context.module, ResidualBlock) and context.method_name == "__call__":
            blocks.append((context.module.scale, context.module.relu))
        return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
        model = create("inception_resnet_v2", num_classes=None, stage_sizes=(2, 2, 2))
        jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, 75, 75, 3)), train=False))
    assert blocks == [(0.17, True)] * 2 + [(0.1, True)] * 2 + [(0.2, True), (1.0, False)]


def test_smaller_images_than_75_pixels_do_not_fit():
    model = create("inception_resnet_v2", num_classes=7, stage_sizes=(1, 1, 1))
    assert model.smallest_image == 75
    assert shapes(model, 75)[2]["stride32"].shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match="does not fit"):
        shapes(model, 74)
