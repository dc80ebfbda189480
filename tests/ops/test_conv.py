import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cvjax.ops.conv import (
    ReceptiveField,
    Sliding,
    conv_multiply_adds,
    conv_parameters,
    dense_parameters,
    output_size,
    receptive_field,
    same_padding,
)


def test_output_size_is_what_a_convolution_gives():
    for size in (5, 28, 227):
        for window, stride, padding, dilation in ((3, 1, 0, 1), (5, 2, 2, 1), (3, 4, 1, 2)):
            out = jax.eval_shape(
                lambda x, k, s=stride, p=padding, d=dilation: lax.conv_general_dilated(
                    x, k, (s,), [(p, p)], rhs_dilation=(d,)
                ),
                jnp.zeros((1, 1, size)),
                jnp.zeros((1, 1, window)),
            )
            got = output_size(
                size, window=window, stride=stride, padding=padding, dilation=dilation
            )
            assert got == out.shape[-1]


def test_same_padding_keeps_the_size():
    for window in (1, 3, 5, 7):
        for dilation in (1, 2):
            p = same_padding(window, dilation=dilation)
            assert output_size(28, window=window, padding=p, dilation=dilation) == 28
    with pytest.raises(ValueError, match="window of 2"):
        same_padding(2)


def test_window_larger_than_the_image_is_an_error():
    with pytest.raises(ValueError, match="window of 5 does not fit 4 pixels"):
        output_size(4, window=3, dilation=2)


def test_parameters_of_published_layers():
    assert conv_parameters(3, 1, 32) == 320
    assert conv_parameters(3, 32, 64) == 18_496
    assert conv_parameters(3, 64, 64) == 36_928
    assert dense_parameters(22 * 22 * 64, 512) == 15_860_224
    # AlexNet's second layer on two GPUs: half the input channels per filter.
    assert conv_parameters(5, 96, 256, groups=2) == 307_456
    # Depthwise 3x3, then 1x1, against a full 3x3, 256 -> 256.
    separable = conv_parameters(3, 256, 256, groups=256, bias=False)
    separable += conv_parameters(1, 256, 256, bias=False)
    assert (separable, conv_parameters(3, 256, 256, bias=False)) == (67_840, 589_824)


def test_groups_that_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match="3 groups do not divide 4 -> 6"):
        conv_parameters(3, 4, 6, groups=3)


def test_inception_bottleneck_saves_what_is_claimed():
    direct = conv_multiply_adds(28, 28, 5, 192, 32)
    squeeze = conv_multiply_adds(28, 28, 1, 192, 16)
    expand = conv_multiply_adds(28, 28, 5, 16, 32)
    assert (direct, squeeze, expand) == (120_422_400, 2_408_448, 10_035_200)
    assert round(direct / (squeeze + expand), 1) == 9.7


def test_three_small_windows_see_as_much_as_a_large_one():
    assert receptive_field([Sliding(3)] * 3).size == receptive_field([Sliding(7)]).size == 7


def test_receptive_field_is_where_the_gradient_is():
    layers = [Sliding(7, 2, 3), Sliding(3, 2, 1), Sliding(3, 1, 2, 2)]

    def unit(x, place):
        for layer in layers:
            x = lax.conv_general_dilated(
                x,
                jnp.ones((1, 1, layer.window)),
                (layer.stride,),
                [(layer.padding, layer.padding)],
                rhs_dilation=(layer.dilation,),
            )
        return x[0, 0, place]

    field = receptive_field(layers)
    for place in (6, 7):
        seen = jnp.flatnonzero(jax.grad(unit)(jnp.ones((1, 1, 64)), place)[0, 0])
        first = field.start + place * field.jump
        assert (seen[0], seen[-1]) == (first, first + field.size - 1)


def test_receptive_field_of_nothing_is_a_pixel():
    assert receptive_field([]) == ReceptiveField(size=1, jump=1, start=0)
