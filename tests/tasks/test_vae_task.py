"""The VAE's bounds against the likelihood by quadrature, its figures and what it draws."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cvjax.data.source import SourceInfo
from cvjax.evaluators.batches import Batches
from cvjax.evaluators.importance_bound import ImportanceBound
from cvjax.models import create
from cvjax.ops.pixel_distributions import Bernoulli
from cvjax.tasks.vae import VAETask

KEY = jax.random.key(0)
GREYS = np.random.default_rng(0).uniform(size=(11, 2, 3, 1)).astype(np.float32)
LABELS = np.arange(11, dtype=np.int32) % 4


def task_and_variables(scale=1.0, **options):
    fields = {"image_shape": (2, 3, 1), "latent": 1, "widths": (5,)}
    task_options = {name: options.pop(name) for name in ("binarize", "objective", "samples")
                    if name in options}  # fmt: skip
    task = VAETask(create("vae", **fields | options), **task_options)
    variables = task.init(KEY, {"image": jnp.asarray(GREYS), "label": jnp.asarray(LABELS)})
    rng = np.random.default_rng(1)
    draw = lambda p: (scale * rng.standard_normal(p.shape)).astype(np.float32)  # noqa: E731
    return task, jax.tree.map(draw, variables)


def evaluated(task, variables, evaluator=None, size=4, order=None):
    """The evaluation of all images in batches of `size`, the last one padded with noise."""
    order = np.arange(11) if order is None else order
    images, labels = GREYS[order], LABELS[order]
    batches = []
    for start in range(0, 11, size):
        image, label = images[start : start + size], labels[start : start + size]
        valid = np.arange(size) < len(image)
        pad = size - len(image)
        image = np.concatenate([image, np.full((pad, 2, 3, 1), 0.5, np.float32)])
        label = np.concatenate([label, np.zeros(pad, np.int32)])
        batches.append({"image": image, "label": label, "valid": valid})
    evaluator = evaluator or Batches(task.predict, task.metrics())
    return evaluator.run(variables, batches, num_examples=11).scalars


def test_bounds_lie_below_the_likelihood_and_rise_to_it():
    """log p(image) by quadrature over the one latent; images are binary already."""
    task, variables = task_and_variables(binarize="threshold")
    # A posterior near the prior covers the true one, else weights would be all too uneven.
    posterior = jax.tree.map(lambda p: 0.1 * p, variables["params"]["posterior"])
    variables = {"params": {**variables["params"], "posterior": posterior}}
    images = (GREYS >= 0.5).astype(np.float64)[..., 0].reshape(11, 6)
    grid = np.linspace(-9, 9, 2001)
    z = jnp.asarray(grid, jnp.float32)[:, None]
    parameters = jax.jit(lambda z: task.model.apply(variables, z, method="decode"))(z)
    logits = np.float64(parameters).reshape(2001, 6)
    log_p = images @ logits.T - np.logaddexp(0, logits).sum(axis=1)  # [N, grid]
    truth = np.log(integrate.simpson(np.exp(log_p) * stats.norm.pdf(grid), x=grid))

    found = evaluated(task, variables)
    batch = {"image": jnp.asarray(GREYS)}
    program = jax.jit(
        lambda v, b, s: task.importance_bound(v, b, samples=s)["nll_iwae"], static_argnums=2
    )
    one, many = (-np.asarray(program(variables, batch, s)) for s in (1, 4000))
    np.testing.assert_allclose(many, truth, atol=0.1)
    assert -found["nll_elbo"] < truth.mean()
    assert one.mean() < many.mean()
    kl_and_reconstruction = found["reconstruction_nll"] + found["kl_divergence"]
    assert found["nll_elbo"] == pytest.approx(kl_and_reconstruction, rel=1e-5)
    assert found["bits_per_dim"] == pytest.approx(found["nll_elbo"] / (6 * np.log(2)), rel=1e-5)
    assert found["loss"] == found["nll_elbo"]


def test_figures_depend_on_neither_batch_size_nor_order_nor_padding():
    task, variables = task_and_variables(binarize="dynamic", condition_classes=4)
    order = np.random.default_rng(3).permutation(11)
    bound = ImportanceBound(task=task, transform=lambda batch: batch, samples=3)
    for evaluator in (None, bound):
        whole = evaluated(task, variables, evaluator, size=11)
        for size, rows in ((4, None), (11, order)):
            other = evaluated(task, variables, evaluator, size=size, order=rows)
            assert other == pytest.approx(whole, rel=1e-5)


def test_training_draws_anew_with_every_key_and_ignores_padding():
    task, variables = task_and_variables(binarize="dynamic", samples=2)
    batch = {"image": jnp.asarray(GREYS), "valid": jnp.arange(11) < 8}
    loss = jax.jit(lambda batch, key: task.loss(variables, batch, {"noise": key})[0])
    first, again, other = (loss(batch, jax.random.key(i)) for i in (0, 0, 1))
    assert first == again != other
    blackened = {**batch, "image": batch["image"].at[8:].set(0.0)}
    assert loss(blackened, jax.random.key(0)) == first


def test_the_tighter_bound_gives_the_lower_training_loss():
    losses = {}
    for objective in ("elbo", "iwae"):
        task, variables = task_and_variables(binarize="threshold", objective=objective, samples=200)
        batch, rngs = {"image": jnp.asarray(GREYS)}, {"noise": KEY}
        losses[objective] = float(jax.jit(task.loss)(variables, batch, rngs)[0])
    assert losses["iwae"] < losses["elbo"] - 0.01


def test_beta_weighs_the_kl_in_training_and_not_in_evaluation():
    task, variables = task_and_variables(binarize="threshold")
    heavy = VAETask(task.model, binarize="threshold", beta=3.0)
    batch, rngs = {"image": jnp.asarray(GREYS)}, {"noise": KEY}
    loss, info = jax.jit(heavy.loss)(variables, batch, rngs)
    parts = info["metrics"]
    expected = parts["reconstruction_nll"] + 3 * parts["kl_divergence"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert evaluated(heavy, variables) == evaluated(task, variables)


class Glass(nn.Module):
    """A model that shows its latent: encode and decode are the identity."""

    image_shape = (1, 3, 1)
    latent = 3
    condition_classes = 0
    likelihood = "bernoulli"
    distribution = Bernoulli(1)

    def encode(self, image, label=None):
        # The second value tells most, then the first; the third nothing.
        width = jnp.broadcast_to(jnp.array([-1.0, -5.0, 0.0]), (len(image), 3))
        return image.reshape(-1, 3) * jnp.array([[1.0, 1.0, 0.0]]), width

    def decode(self, z, label=None):
        return z[..., None, :, None]


def latents(pictures):
    image = np.float64(pictures["image"])[..., 0]
    return np.log(image / (1 - image)).reshape(*image.shape[:-2], 3)


def test_traversals_move_the_most_telling_dimension_first_and_leave_the_others():
    task = VAETask(Glass(), binarize="threshold")
    image = jnp.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]).reshape(2, 1, 3, 1)
    z = latents(task.traverse({}, KEY, {"image": image}))  # [3 rows, 11, 3]
    quantiles = stats.norm.ppf(np.linspace(0.02, 0.98, 11))
    start = np.array([1.0, 0.0, 0.0])
    for row, dimension in enumerate((1, 0, 2)):
        expected = np.tile(start, (11, 1))
        expected[:, dimension] = quantiles
        np.testing.assert_allclose(z[row], expected, atol=1e-4)


def test_samples_reconstructions_and_interpolations_show_the_latents_they_should():
    task = VAETask(Glass(), binarize="threshold")
    image = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]).reshape(2, 1, 3, 1)
    drawn = latents(task.sample({}, KEY, 7))
    np.testing.assert_allclose(drawn, jax.random.normal(KEY, (7, 3)), atol=1e-3)
    shown = task.reconstruct({}, KEY, {"image": image})["image"]
    np.testing.assert_array_equal(shown[:, 0], image)
    np.testing.assert_allclose(latents({"image": shown[:, 1]}), [[1, 0, 0], [0, 1, 0]], atol=1e-4)
    line = latents(task.interpolate({}, KEY, {"image": image}))
    share = np.linspace(0, 1, 11)
    np.testing.assert_allclose(line[0, :, :2], np.stack([1 - share, share], 1), atol=1e-4)


def test_a_conditional_vae_draws_the_labels_it_is_given():
    task, variables = task_and_variables(condition_classes=4)
    found = jax.jit(lambda: task.sample(variables, KEY, 6))()
    np.testing.assert_array_equal(found["label"], [0, 1, 2, 3, 0, 1])
    z = jax.random.normal(KEY, (6, 1))
    swapped = task.model.apply(variables, z, (found["label"] + 1) % 4, method="decode")
    other = jax.nn.sigmoid(swapped)
    assert np.abs(found["image"] - other).max() > 0.05
    with pytest.raises(ValueError, match="every example needs its label"):
        task.model.apply(variables, z, method="decode")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({}, {"binarize": "none"}, "probability of binary pixels alone"),
        ({"likelihood": "categorical"}, {}, "is of 256 levels. Use none"),
        ({}, {"objective": "map"}, "expected elbo or iwae"),
        ({}, {"objective": "iwae", "beta": 2.0}, "has no KL to weigh"),
        ({}, {"samples": 0}, "at least 1"),
        ({}, {"binarize": "noisy"}, "expected none, threshold or dynamic"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        VAETask(create("vae", **model), **options)


def test_images_of_another_shape_and_other_classes_are_named():
    task = VAETask(create("vae", condition_classes=7))
    with pytest.raises(ValueError, match=r"model.image_shape: got \(28, 28, 1\)"):
        task.check(SourceInfo("digits", (), 10, (8, 8, 1)))
    with pytest.raises(ValueError, match=r"model.condition_classes: got 7"):
        task.check(SourceInfo("digits", (), 10, (28, 28, 1)))


def test_sides_that_strides_do_not_divide_are_named():
    model = create("conv_vae", image_shape=(10, 10, 1))
    rngs = {"params": KEY, "noise": KEY}
    with pytest.raises(ValueError, match="multiples of 4, not 10x10"):
        jax.eval_shape(lambda: model.init(rngs, jnp.zeros((1, 10, 10, 1)), train=True))
