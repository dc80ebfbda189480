"""Arrays brought to another model's sizes, and those that are refused."""

import numpy as np
import pytest

from cvjax.pretrained.reshape import CONVERTERS


def test_grey_images_get_the_response_of_their_three_equal_channels():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    grey = CONVERTERS["input_channels"].convert(kernel, (3, 3, 1, 4))
    patch = rng.normal(size=(3, 3)).astype(np.float32)
    for out in range(4):
        response = sum(
            kernel[y, x, c, out] * patch[y, x] for y in range(3) for x in range(3) for c in range(3)
        )
        assert np.sum(grey[:, :, 0, out] * patch) == pytest.approx(response, abs=1e-5)


@pytest.mark.parametrize("wanted", [2, 4, 6, 7])
def test_other_channels_repeat_and_are_scaled(wanted):
    kernel = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)
    ours = CONVERTERS["input_channels"].convert(kernel, (2, 2, wanted, 4))
    for channel in range(wanted):
        np.testing.assert_allclose(
            ours[:, :, channel], kernel[:, :, channel % 3] * 3 / wanted, rtol=1e-6
        )


def test_a_constant_table_stays_constant_and_its_token_as_it_was():
    table = np.full((1, 1 + 16, 3), 2.0, np.float32)
    table[0, 0] = 5.0
    ours = CONVERTERS["position_table"].convert(table, (1, 1 + 49, 3))
    assert ours.shape == (1, 50, 3)
    np.testing.assert_allclose(ours[0, 1:], 2.0, rtol=1e-6)
    np.testing.assert_array_equal(ours[0, 0], 5.0)


@pytest.mark.parametrize(
    ("name", "source", "target", "words"),
    [
        ("position_table", (1, 17, 8), (1, 50, 8), ""),
        ("position_table", (1, 17, 8), (1, 49, 8), "the same 0, 1 or 2 tokens"),
        ("position_table", (1, 17, 8), (1, 50, 9), "of one width"),
        ("position_table", (17, 8), (1, 50, 8), "[1, positions, width]"),
        ("position_table", (1, 20, 8), (1, 29, 8), "a square map"),
        ("input_channels", (3, 3, 3, 8), (3, 3, 1, 8), ""),
        ("input_channels", (3, 3, 3, 8), (5, 5, 3, 8), "only the channels that go in"),
        ("input_channels", (3, 3, 3, 8), (3, 3, 1, 9), "only the channels that go in"),
        ("input_channels", (3, 8), (1, 8), "a convolution's kernel"),
    ],
)
def test_what_can_be_converted_and_what_not(name, source, target, words):
    problem = CONVERTERS[name].problem(source, target)
    assert words in problem
    assert bool(problem) == bool(words)
