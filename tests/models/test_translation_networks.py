"""pix2pix's and CycleGAN's networks have their authors' sizes, and PatchGAN sees 70x70 pixels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.nn.patch_gan import PatchGAN
from cvjax.nn.translation_norm import translation_norm


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


@pytest.mark.parametrize(("size", "parameters"), [(256, 54_413_955), (128, 41_828_995)])
def test_pix2pix_has_the_parameters_of_the_authors_code(size, parameters):
    """github.com/junyanz/pytorch-CycleGAN-and-pix2pix, unet_256 and unet_128, 3 to 3 channels."""
    model = create("pix2pix", num_classes=10, image_size=size)
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    (made, scores), variables = jax.eval_shape(
        lambda x: model.init_with_output(RNGS, x, x, train=True), image
    )
    assert count(variables["params"]["generator"]) == parameters
    assert count(variables["params"]["discriminator"]) == 2_768_705
    assert made.shape == image.shape
    if size == 256:
        assert scores.shape == (2, 30, 30)  # the paper's


def test_cycle_gan_has_the_parameters_of_the_authors_code():
    """resnet_9blocks and basic, instance normalisation."""
    model = create("cycle_gan", num_classes=10)
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    found, variables = jax.eval_shape(lambda x: model.init_with_output(RNGS, x, train=True), image)
    for name in ("to_a", "to_b"):
        assert count(variables["params"]["generator"][name]) == 11_378_179
        assert found[name].shape == image.shape
    for name in ("of_a", "of_b"):
        assert count(variables["params"]["discriminator"][name]) == 2_764_737
    assert list(variables) == ["params"]


@pytest.mark.parametrize(
    ("layers", "seen", "parameters"), [(1, 16, 139_585), (2, 34, None), (3, 70, None)]
)
def test_a_patch_is_as_large_as_the_paper_says(layers, seen, parameters):
    """The pixels that change a score in the middle, by the gradient of a network that mixes no
    places: instance and batch norms off by evaluation mode."""
    model = PatchGAN(1, layers, "batch")
    image = jnp.zeros((1, 96, 96, 6))
    shapes = jax.eval_shape(lambda x: model.init(RNGS, x, train=False), image)
    positive = jax.tree.map(lambda s: jnp.full(s.shape, 0.5), shapes)

    def middle(x):
        scores = model.apply(positive, x, train=False)
        return scores[0, scores.shape[1] // 2, scores.shape[2] // 2]

    slope = np.asarray(jax.jit(jax.grad(middle))(image))[0].sum(axis=-1)
    rows = np.flatnonzero(slope.any(axis=1))
    assert rows[-1] - rows[0] + 1 == seen
    if layers == 1:  # the authors' n_layers_D=1
        shapes = jax.eval_shape(lambda x: PatchGAN(64, 1).init(RNGS, x, train=False), image)
        assert count(shapes["params"]) == 139_585


def test_instance_normalisation_is_that_of_each_channel_of_each_picture():
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 5, 3)).astype(np.float32)
    found = translation_norm(jnp.asarray(x), "instance", train=True, name="", dtype=jnp.float32)
    for picture, out in zip(x, np.asarray(found)):
        for channel in range(3):
            values = picture[..., channel].astype(np.float64)
            expected = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
            np.testing.assert_allclose(out[..., channel], expected, rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_halve_are_refused():
    model = create("pix2pix", num_classes=10, image_size=48)
    image = jax.ShapeDtypeStruct((1, 48, 48, 3), jnp.float32)
    with pytest.raises(ValueError, match="power of two"):
        jax.eval_shape(lambda x: model.init(RNGS, x, x, train=True), image)
    model = create("cycle_gan", num_classes=10)
    image = jax.ShapeDtypeStruct((1, 30, 32, 3), jnp.float32)
    with pytest.raises(ValueError, match="multiples of 4"):
        jax.eval_shape(lambda x: model.init(RNGS, x, train=True), image)
