import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.models.classifiers.xception import Block

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
    return shapes(create("xception", num_classes=1000))


def test_it_has_the_published_parameters(whole):
    assert sum(leaf.size for leaf in jax.tree.leaves(whole[0]["params"])) == 22_855_952


def test_maps_have_the_sizes_of_the_papers_figure(whole):
    # The middle flow is 19x19x728 at 299 pixels (fig. 5).
    assert {name: map_.shape[1:] for name, map_ in whole[2].items()} == {
        "stride2": (147, 147, 64),
        "stride4": (74, 74, 128),
        "stride8": (37, 37, 256),
        "stride16": (19, 19, 728),
        "stride32": (10, 10, 2048),
        "pooled": (2048,),
    }


def test_it_has_36_convolutions_in_14_modules(whole):
    params = whole[0]["params"]
    stem = sum(name.startswith("stem_conv") for name in params)
    blocks = [block for name, block in params.items() if name.startswith("stage")]
    final = sum(name.startswith("final_conv") for name in params)
    inside = sum(name.startswith("conv") for block in blocks for name in block)
    assert stem + inside + final == 36
    assert len(blocks) + 2 == 14  # the stem and the last two convolutions are modules, too
    assert sum("shortcut_conv" not in block for block in blocks) == 8


def test_exit_flow_widens_with_its_second_convolution(whole):
    block = whole[0]["params"]["stage4_block1"]
    assert [block[f"conv{i}"]["pointwise"]["kernel"].shape[-1] for i in (1, 2)] == [728, 1024]
    block = whole[0]["params"]["stage3_block1"]
    assert [block[f"conv{i}"]["pointwise"]["kernel"].shape[-1] for i in (1, 2)] == [728, 728]


def test_a_block_whose_last_scale_is_zero_is_the_identity():
    x = jax.random.normal(KEY, (2, 5, 6, 4))
    block = Block((4, 4, 4))
    apply = jax.jit(lambda v: block.apply(v, x, train=False))
    init = jax.jit(lambda: block.init(KEY, x, train=False))
    variables = init()
    assert np.abs(apply(variables) - x).max() > 0.1
    variables["params"]["norm3"]["scale"] = jnp.zeros(4)
    np.testing.assert_array_equal(apply(variables), x)


@pytest.mark.slow
def test_seven_pixels_are_enough():
    assert shapes(create("xception", num_classes=3), 7)[1].shape == (2, 3)
