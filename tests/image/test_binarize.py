import jax
import jax.numpy as jnp
import numpy as np

from cvjax.image.binarize import binarize

GREY = jnp.linspace(0.0, 1.0, 5).reshape(1, 1, 5, 1)


def test_dynamic_images_are_drawn_with_their_greys_as_probabilities():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = binarize(keys, jnp.broadcast_to(GREY, (4000, 1, 5, 1)), "dynamic")
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), GREY[0], atol=0.03)
    assert not np.any(drawn[..., 0, :])
    assert np.all(drawn[..., 4, :])


def test_threshold_cuts_at_a_half_and_none_leaves_the_image():
    keys = jax.random.split(jax.random.key(0), 1)
    np.testing.assert_array_equal(
        binarize(keys, GREY, "threshold").ravel(), [0.0, 0.0, 1.0, 1.0, 1.0]
    )
    assert binarize(keys, GREY, "none") is GREY
