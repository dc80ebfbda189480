"""Whitening: scikit-learn's PCA, a covariance of I, and what cannot be whitened."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.decomposition import PCA

from cvjax import build
from cvjax.config import ConfigError
from cvjax.data.options import DataOptions
from cvjax.image.augment import eval_transform
from cvjax.image.whiten import KINDS, fit_whitening

RNG = np.random.default_rng(0)
SHAPE = (3, 4, 2)
# Neighbouring values go together, as in pictures.
MIXING = RNG.normal(size=(24, 24)) / 10 + 0.3 * np.eye(24)
IMAGES = (0.5 + RNG.normal(size=(200, 24)) @ MIXING * 0.1).reshape(200, *SHAPE).astype(np.float32)
ROWS = IMAGES.reshape(200, -1).astype(np.float64)


def rows_of(kind, **options):
    return np.asarray(fit_whitening(IMAGES, kind, **options)(jnp.asarray(IMAGES))).reshape(200, -1)


def test_pca_is_scikit_learns_whitening_but_for_signs():
    expected = PCA(whiten=True, svd_solver="full").fit_transform(ROWS)
    found = rows_of("pca", epsilon=0.0)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_images_have_the_covariance_of_noise(kind):
    np.testing.assert_allclose(np.cov(rows_of(kind, epsilon=0.0).T), np.eye(24), atol=2e-3)


def test_zca_is_symmetric_and_shrinks_by_epsilon():
    matrix = fit_whitening(IMAGES, "zca", epsilon=0.01).matrix
    values, vectors = np.linalg.eigh(np.cov(ROWS.T))
    expected = vectors @ np.diag((values + 0.01) ** -0.5) @ vectors.T
    np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-5)


def test_the_mean_image_is_subtracted_and_deviations_divide():
    np.testing.assert_allclose(rows_of("mean_image"), ROWS - ROWS.mean(0), atol=1e-6)
    expected = (ROWS - ROWS.mean(0)) / ROWS.std(0, ddof=1)
    np.testing.assert_allclose(rows_of("per_pixel", epsilon=0.0), expected, rtol=1e-3, atol=1e-4)


def test_one_image_is_whitened_as_in_a_batch():
    for kind in KINDS:
        whitening, images = fit_whitening(IMAGES, kind), jnp.asarray(IMAGES)
        np.testing.assert_allclose(whitening(images[3]), whitening(images)[3], atol=1e-5)


@pytest.mark.parametrize(
    ("images", "kind", "options", "message"),
    [
        (IMAGES, "whiten", {}, "no 'whiten'"),
        (IMAGES[:1], "zca", {}, "1 image is too few"),
        (IMAGES, "zca", {"epsilon": -1.0}, "negative"),
        (IMAGES[:10], "pca", {"epsilon": 0.0}, "variances are 0"),
        (np.zeros((2, 40, 40, 3), np.float32), "zca", {}, "have 4800 values; up to 4096"),
    ],
)
def test_what_cannot_be_whitened_is_refused(images, kind, options, message):
    with pytest.raises(ValueError, match=message):
        fit_whitening(images, kind, **options)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"learnt from \(3, 4, 2\)"):
        fit_whitening(IMAGES, "zca")(jnp.asarray(IMAGES[:, :2]))


def config_of(**data):
    sections = {
        "model": {"name": "linear"},
        "task": {"name": "classification"},
        "data": {"name": "digits", **data},
        "optim": {"lr": 0.1},
        "train": {"steps": 1},
    }
    return ConfigDict(sections)


def test_a_run_whitens_by_its_training_split_and_enlarges_last():
    config = config_of(whiten={"kind": "mean_image"}, upsample={"size": 16, "method": "nearest"})
    experiment = build.experiment(config)
    images = experiment.train_source.images / np.float32(255)
    batch = build.source(DataOptions(name="digits"), "test").batch(np.arange(3))
    expected = batch["image"] / np.float32(255) - images.mean(0)
    trained = experiment.train_transform(jax.random.key(0), batch)
    for found in (experiment.eval_transform(batch), trained):
        enlarged = expected.repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_allclose(found["image"], enlarged, atol=1e-5)


def test_boxes_are_not_left_behind_when_images_are_enlarged():
    transform = eval_transform(upsample_to={"size": 8})
    with pytest.raises(ValueError, match=r"leave \['boxes'\]"):
        transform({"image": jnp.zeros((1, 4, 4, 1)), "boxes": jnp.zeros((1, 2, 4))})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"whiten": {"kind": "zca"}, "mean": 0.5}, "takes the place of data.mean"),
        ({"whiten": {"kind": "zac"}}, "no 'zac'"),
        ({"whiten": {"kind": "zca", "eps": 1.0}}, "data.whiten.eps"),
        ({"upsample": {"sizes": 32}}, "'sizes' of"),
        ({"upsample": {"method": "nearest"}}, "size is needed"),
    ],
)
def test_wrong_sections_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        build.experiment(config_of(**data))
