import jax
import jax.numpy as jnp
import numpy as np

from cvjax.ops.content_keys import content_keys

IMAGES = np.random.default_rng(0).integers(0, 17, (200, 8, 8, 1)).astype(np.float32) / 16
KEY = jax.random.key(3)


def data(images):
    return np.asarray(jax.random.key_data(content_keys(KEY, jnp.asarray(images))))


def test_keys_follow_their_images_wherever_these_stand():
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(data(IMAGES[order]), data(IMAGES)[order])
    np.testing.assert_array_equal(data(IMAGES[5:7]), data(IMAGES)[5:7])


def test_different_images_get_different_keys_also_where_one_pixel_differs_a_little():
    assert len(np.unique(data(IMAGES), axis=0)) == 200
    near = np.repeat(IMAGES[:1], 65, axis=0)
    for i in range(64):
        near[i].flat[i] += 1 / 255
    assert len(np.unique(data(near), axis=0)) == 65
    swapped = IMAGES[:1, :, ::-1]
    assert np.any(data(swapped) != data(IMAGES[:1]))


def test_another_key_gives_other_keys():
    other = jax.random.key_data(content_keys(jax.random.key(4), jnp.asarray(IMAGES)))
    assert np.all(np.any(data(IMAGES) != np.asarray(other), axis=1))
