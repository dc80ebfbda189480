import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create


def shapes(model, size=299):
    """(variables, logits, features) as shapes; nothing is computed."""

    def both():
        x = jnp.zeros((2, size, size, 3))
        variables = model.init(jax.random.key(0), x, train=False)
        return variables, *model.apply(variables, x, train=False)

    return jax.eval_shape(both)


@pytest.fixture(scope="module")
def whole():
    return shapes(create("inception_v4", num_classes=1000))


def test_it_has_timms_parameters(whole):
    assert sum(leaf.size for leaf in jax.tree.leaves(whole[0]["params"])) == 42_679_816


def test_maps_have_the_sizes_of_the_papers_figures(whole):
    assert {name: map_.shape[1:] for name, map_ in whole[2].items()} == {
        "stride2": (147, 147, 64),
        "stride4": (71, 71, 192),
        "stride8": (35, 35, 384),
        "stride16": (17, 17, 1024),
        "stride32": (8, 8, 1536),
        "pooled": (1536,),
    }


def test_it_has_neither_shortcuts_nor_depthwise_convolutions(whole):
    # Those are Inception-ResNet's and Xception's, though all three are sometimes mixed up.
    kernels = [leaf for leaf in jax.tree.leaves(whole[0]["params"]) if leaf.ndim == 4]
    assert min(kernel.shape[2] for kernel in kernels) == 3  # the colours
    assert not [name for name in whole[0]["params"] if "shortcut" in name]


def test_smaller_images_than_75_pixels_do_not_fit():
    model = create("inception_v4", num_classes=7, stage_sizes=(1, 1, 1))
    assert model.smallest_image == 75
    assert shapes(model, 75)[2]["stride32"].shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match="does not fit"):
        shapes(model, 74)
