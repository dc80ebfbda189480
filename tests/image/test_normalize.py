import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.normalize import denormalize, normalize, to_float

BYTES = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)


def test_bytes_span_zero_to_one_in_steps_of_one_255th():
    np.testing.assert_allclose(
        to_float(BYTES).ravel(), np.arange(256, dtype=np.float64) / 255, rtol=1e-7
    )


def test_floats_keep_their_values():
    image = jnp.asarray([[[[0.0], [0.25], [1.5]]]], jnp.float32)
    np.testing.assert_array_equal(to_float(image), image)


def test_normalize_uses_each_channels_own_statistics():
    image = jnp.ones((2, 1, 1, 3)) * jnp.asarray([0.5, 0.6, 0.7]).reshape(1, 1, 1, 3)
    result = normalize(image, mean=(0.5, 0.5, 0.5), std=(1.0, 0.1, 0.2))
    np.testing.assert_allclose(result[1, 0, 0], [0.0, 1.0, 1.0], atol=1e-6)


def test_one_number_serves_every_channel():
    image = to_float(BYTES)
    np.testing.assert_array_equal(
        normalize(image, mean=0.5, std=0.25), normalize(image, mean=(0.5,), std=(0.25,))
    )


def test_denormalize_undoes_normalize():
    image = to_float(BYTES)
    back = denormalize(normalize(image, mean=0.4, std=0.3), mean=0.4, std=0.3)
    np.testing.assert_allclose(back, image, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(mean=(0.1, 0.2)), "mean=.*2 values for images of 1 channels"),
        (dict(std=0.0), "std=0.0 must be positive"),
        (dict(std=(-1.0,)), "must be positive"),
        (dict(mean=float("nan")), "must be finite"),
    ],
)
def test_wrong_statistics_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        normalize(to_float(BYTES), **options)
