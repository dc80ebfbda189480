import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create

KEY = jax.random.key(0)


def shapes(model, size=299):
    """(variables, logits, features) as shapes; nothing is computed."""

    def both():
        x = jnp.zeros((2, size, size, 3))
        variables = model.init(KEY, x, train=False)
        return variables, *model.apply(variables, x, train=False)

    return jax.eval_shape(both)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_it_has_torchvisions_parameters_with_and_without_the_auxiliary_head():
    params = shapes(create("inception_v3", num_classes=1000, aux_heads=True))[0]["params"]
    assert count(params) == 27_161_264
    del params["aux1"]
    assert count(params) == 23_834_568
    assert count(shapes(create("inception_v3", num_classes=1000))[0]["params"]) == 23_834_568


def test_maps_have_the_sizes_of_the_papers_table():
    _, _, features = shapes(create("inception_v3", num_classes=None))
    assert {name: map_.shape[1:] for name, map_ in features.items()} == {
        "stride2": (147, 147, 64),
        "stride4": (71, 71, 192),
        "stride8": (35, 35, 288),
        "stride16": (17, 17, 768),
        "stride32": (8, 8, 2048),
        "pooled": (2048,),
    }


@pytest.mark.slow
def test_large_windows_are_rows_and_columns():
    params = shapes(create("inception_v3", num_classes=None))[0]["params"]
    windows = {
        module["conv"]["kernel"].shape[:2]
        for name, block in params.items()
        if name.startswith("stage2")
        for module in block.values()
    }
    assert windows == {(1, 1), (1, 7), (7, 1)}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [75, 139, 299, 331])
def test_auxiliary_head_takes_every_size_that_the_network_takes(size):
    model = create("inception_v3", num_classes=7, aux_heads=True, stage_sizes=(1, 1, 1))
    _, logits, features = shapes(model, size)
    assert logits.shape == features["aux1_logits"].shape == (2, 7)


@pytest.mark.slow
def test_smaller_images_than_75_pixels_do_not_fit():
    model = create("inception_v3", num_classes=7)
    assert model.smallest_image == 75
    assert shapes(model, 75)[2]["stride32"].shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match="does not fit"):
        shapes(model, 74)


def test_initial_deviations_are_torchvisions():
    model = create("inception_v3", num_classes=100, stage_sizes=(), aux_heads=True)
    params = jax.jit(lambda: model.init(KEY, jnp.zeros((1, 75, 75, 3)), train=False))()["params"]
    np.testing.assert_allclose(params["stem"]["conv5"]["conv"]["kernel"].std(), 0.1, rtol=0.02)
    np.testing.assert_allclose(params["head"]["kernel"].std(), 0.1, rtol=0.02)
