"""PixelCNN given the label: a distribution for every class, each without a leak and exact.

The oracle is enumeration, as in test_pixel_models.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_pixel_models import every_image

from cvjax.models import create
from cvjax.tasks.autoregressive import Autoregression
from cvjax.tasks.pixel_sampling import sample_cached, sample_plain

CLASSES = 3


@functools.cache
def model_and_variables():
    model = create(
        "gated_pixel_cnn", image_shape=(3, 3, 1), width=8, depth=2, hidden=8, first_window=3,
        condition_classes=CLASSES,
    )  # fmt: skip
    example, label = jnp.zeros((1, 3, 3, 1)), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), example, label, train=True))
    rng = np.random.default_rng(0)
    # Large enough that every dependence shows.
    draw = lambda s: (0.5 * rng.standard_normal(s.shape)).astype(np.float32)  # noqa: E731
    return model, {"params": jax.tree.map(draw, shapes["params"])}


@functools.cache
def log_probabilities():
    """[classes, all 512 images]."""
    model, variables = model_and_variables()
    images = every_image(model)

    @jax.jit
    def log_p(label):
        labels = jnp.broadcast_to(label, len(images))
        outputs, _ = model.apply(variables, images, labels, train=False)
        return model.distribution.log_prob(outputs["parameters"], images).sum(axis=(1, 2))

    return np.float64([log_p(label) for label in range(CLASSES)])


def test_the_probabilities_of_all_images_sum_to_one_given_each_class():
    log_p = log_probabilities()
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-4)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(log_p[one] - log_p[other]).max() > 0.5


def test_every_pixel_knows_the_class_and_none_itself_or_a_later_one():
    model, variables = model_and_variables()
    image = jax.random.uniform(jax.random.key(1), (3, 3, 1))

    def parameters(image, label):
        return model.apply(variables, image[None], label, train=False)[0]["parameters"][0, ..., 0]

    given = jax.jit(lambda label: (parameters(image, label), jax.jacrev(parameters)(image, label)))
    found = [jax.device_get(given(jnp.array([label]))) for label in range(CLASSES)]
    for label in range(1, CLASSES):
        assert np.abs(found[label][0] - found[0][0]).min() > 1e-3
    for _, slopes in found:
        seen = np.abs(slopes).reshape(9, 9) > 1e-12
        # First pixel: nothing of the image. The others: at most what comes before, and the last
        # one all of it.
        np.testing.assert_array_equal(np.triu(seen), False)
        assert seen[-1, :-1].all()


@pytest.mark.parametrize("condition", ["class_above", "class_along"])
def test_both_stacks_are_told_the_class(condition):
    model, variables = model_and_variables()
    params = dict(variables["params"])
    for name in params:
        if name.startswith(condition):
            params[name] = jax.tree.map(jnp.zeros_like, params[name])
    image = jax.random.uniform(jax.random.key(1), (1, 3, 3, 1))
    found = [
        model.apply({"params": tree}, image, jnp.array([1]), train=False)[0]["parameters"]
        for tree in (variables["params"], params)
    ]
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_both_samplers_draw_what_the_class_makes_probable():
    model, variables = model_and_variables()
    count = 3000
    label = jnp.arange(count) % CLASSES
    draws = [
        np.asarray(jax.jit(lambda key, s=sampler: s(model, variables, key, count, label))(
            jax.random.key(2)
        ))
        for sampler in (sample_plain, sample_cached)
    ]  # fmt: skip
    np.testing.assert_array_equal(*draws)
    every = np.asarray(every_image(model)).reshape(512, 9)
    for number in range(CLASSES):
        probability = np.exp(log_probabilities()[number])
        drawn = draws[0][number::CLASSES].reshape(-1, 9)
        # Each pixel's mean: 5 standard errors of 1,000 draws of probability a half.
        np.testing.assert_allclose(drawn.mean(axis=0), probability @ every, atol=0.08)


def test_the_task_measures_each_image_given_its_own_label():
    model, variables = model_and_variables()
    task = Autoregression(model, binarize="threshold")
    images, order = every_image(model)[:6], np.array([2, 1, 0, 0, 1, 2])
    batch = {"image": images, "label": jnp.asarray(order)}
    nll = jax.jit(task.predict)(variables, batch)["nll"]
    expected = -log_probabilities()[order, np.arange(6)]
    np.testing.assert_allclose(nll, expected, rtol=1e-5)
    drawn = jax.eval_shape(lambda: task.sample(variables, jax.random.key(0), 4))
    assert drawn["label"].shape == (4,)


def test_a_missing_label_is_told():
    model, variables = model_and_variables()
    with pytest.raises(ValueError, match="every example needs its label"):
        jax.eval_shape(lambda: model.apply(variables, jnp.zeros((1, 3, 3, 1)), train=False))
