"""SRResNet's and SRGAN's networks have the sizes of their figure."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_translation_networks import count

from cvjax.models import create


def shapes_of(name, size, **fields):
    """(outputs, variables) for small pictures of that size."""
    model, image = create(name, **fields), jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, train=True), image)


def conv(window, inputs, outputs):
    return (window**2 * inputs + 1) * outputs


def test_the_generator_has_the_parameters_of_the_papers_figure():
    """1,549,462, as the usual ports count; by hand: convolutions with biases, two for each channel
    of a batch norm, one slope for each PReLU."""
    made, variables = shapes_of("srresnet", 24)
    assert made.shape == (2, 96, 96, 3)
    block = 2 * conv(3, 64, 64) + 2 * 128 + 1
    by_hand = conv(9, 3, 64) + 1 + 16 * block + conv(3, 64, 64) + 128
    by_hand += 2 * (conv(3, 64, 256) + 1) + conv(9, 64, 3)
    assert by_hand == 1_549_462
    assert count(variables["params"]) == by_hand
    assert list(variables["params"]) == ["generator"]


def test_the_discriminator_has_the_parameters_of_the_papers_figure():
    (_, scores), variables = shapes_of("srgan", 24)
    assert scores.shape == (2,)
    widths = (3, 64, 64, 128, 128, 256, 256, 512, 512)
    by_hand = sum(conv(3, a, b) for a, b in itertools.pairwise(widths)) + 2 * sum(widths[2:])
    by_hand += conv(1, 6 * 6 * 512, 1024) + conv(1, 1024, 1)
    assert by_hand == 23_565_505
    assert count(variables["params"]["discriminator"]) == by_hand
    assert count(variables["params"]["generator"]) == 1_549_462


def test_a_factor_of_two_takes_one_sub_pixel_convolution():
    made, variables = shapes_of("srresnet", 8, factor=2, width=4, blocks=1)
    assert made.shape == (2, 16, 16, 3)
    assert "up2" not in variables["params"]["generator"]


@pytest.mark.parametrize(
    ("name", "size", "fields", "message"),
    [
        ("srresnet", 8, {"factor": 3}, "model.factor=3: 2, 4, 8 or another power of two"),
        ("srgan", 6, {}, "24x24 pixels; both sides have to be multiples of 16"),
    ],
)
def test_sizes_that_do_not_go_are_refused(name, size, fields, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(name, size, **fields)


@pytest.mark.slow  # two networks to compile
def test_bfloat16_computes_and_makes_float32_pictures_and_scores():
    model = create("srgan", width=4, blocks=1, discriminator_width=2, dtype=jnp.bfloat16)
    image = jax.random.uniform(jax.random.key(1), (2, 4, 4, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(0), image, train=True))()
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    exact = model.clone(dtype=jnp.float32)
    low, high = (
        jax.jit(lambda m=m: m.apply(variables, image, train=False))() for m in (model, exact)
    )
    for a, b in zip(low, high):
        assert a.dtype == jnp.float32
        assert 0 < np.abs(a - b).max() < 0.05 * np.abs(b).max()
