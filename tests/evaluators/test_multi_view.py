"""Predictions averaged over views are those of a loop over the views."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from ml_collections import ConfigDict

from cvjax import build
from cvjax.config import ConfigError
from cvjax.evaluators.multi_view import MultiView
from cvjax.models import create
from cvjax.ops.crops import ten_crop
from cvjax.tasks.classification import Classification

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8),
    "label": np.array([0, 1, 2, 2, 1, 0], np.int32),
    "valid": np.array([True] * 5 + [False]),
}
WEIGHTS = {side: RNG.normal(size=(side * side, 3)).astype(np.float32) for side in (4, 8)}


def transform(batch):
    return {**batch, "image": batch["image"] / jnp.float32(255)}


def variables_for(side):
    return {"params": {"head": {"kernel": WEIGHTS[side], "bias": np.zeros(3, np.float32)}}}


def task_of(loss_name="softmax"):
    return Classification(create("linear", num_classes=3), loss_name=loss_name)


def scores(images, side):
    """Logits of a linear model, one view after the other, in NumPy: [V, B, 3]."""
    return np.stack([view.reshape(len(view), -1) @ WEIGHTS[side] for view in images])


@pytest.mark.parametrize(
    ("loss_name", "average", "to_probability"),
    [
        ("softmax", "probability", lambda z: scipy.special.softmax(z, axis=-1)),
        ("sigmoid", "probability", scipy.special.expit),
    ],
)
def test_ten_small_crops_average_probabilities(loss_name, average, to_probability):
    evaluator = MultiView(task_of(loss_name), transform, crop=0.5, enlarge=False, average=average)
    results = evaluator.run(variables_for(4), [BATCH])
    crops = np.asarray(ten_crop(transform(BATCH)["image"], (4, 4)))
    mean = to_probability(scores(crops, 4)).mean(axis=0)[:5]
    labels = BATCH["label"][:5]
    assert results.scalars["accuracy"] == np.mean(mean.argmax(-1) == labels)
    own = mean[np.arange(5), labels]
    loss = -np.log(own)
    if loss_name == "sigmoid":
        loss = loss - np.log1p(-mean).sum(-1) + np.log1p(-own)
    assert results.scalars["loss"] == pytest.approx(loss.mean(), rel=1e-5)
    assert results.num_examples == 5


def test_a_hinge_averages_scores_over_the_image_and_its_mirror_image():
    task = task_of("hinge")
    results = MultiView(task, transform, views="flip", average="logits").run(
        variables_for(8), [BATCH]
    )
    images = BATCH["image"] / np.float32(255)
    mean = scores([images, images[:, :, ::-1]], 8).mean(axis=0)[:5]
    own = mean[np.arange(5), BATCH["label"][:5]][:, None]
    loss = np.maximum(mean - own + 1, 0).sum(-1) - 1  # the true class's own term is the margin
    assert results.scalars["loss"] == pytest.approx(loss.mean(), rel=1e-5)
    with pytest.raises(ValueError, match="average its 'logits'"):
        MultiView(task, transform).scalar_names(variables_for(8), BATCH)


def test_whole_crops_are_the_plain_evaluation_and_smaller_ones_are_enlarged():
    task = task_of()
    outputs = task.predict(variables_for(8), transform(BATCH))
    one = dataclasses.replace(MultiView(task, transform, views="five_crop"), crop=1.0)
    found = one._predict(variables_for(8), BATCH)
    np.testing.assert_allclose(found["probability"], outputs["probability"], rtol=1e-5)
    smaller = dataclasses.replace(one, crop=0.5)._predict(variables_for(8), BATCH)
    assert not np.allclose(smaller["probability"], outputs["probability"], rtol=1e-2)


def config_of(options, **data):
    sections = {
        "model": {"name": "linear"},
        "task": {"name": "classification"},
        "data": {"name": "digits", "batch_size": 256, **data},
        "optim": {"lr": 0.1},
        "evals": {"test": {"split": "test", "evaluator": "multi_view", "options": options}},
        "train": {"steps": 2},
    }
    return ConfigDict(sections)


def test_augmented_views_are_what_training_draws():
    config = config_of({"views": "augment", "count": 3}, augment={"translate": {"fraction": 0.3}})
    experiment = build.experiment(config)
    evaluator = experiment.evals["test"].of_task(
        task=experiment.task, transform=experiment.eval_transform
    )
    batch = experiment.evals["test"].source.batch(np.arange(7))
    views = evaluator._views(batch)
    assert views.shape == (3, 7, 8, 8, 1)
    keys = jax.random.split(jax.random.key(0), 3)
    for key, view in zip(keys, views):
        np.testing.assert_allclose(view, experiment.train_transform(key, batch)["image"], atol=1e-6)
    assert len(np.unique(np.asarray(views).reshape(3, -1), axis=0)) == 3


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"views": "tencrop"}, {}, "views='tencrop'"),
        ({"crop": 1.5}, {}, "crop=1.5"),
        ({"crops": 0.5}, {}, "crops"),
        ({"views": "augment"}, {}, "no augmentation"),
        ({"views": "augment"}, {"augment": {"mixup": {}}}, "mixtures"),
    ],
)
def test_wrong_options_are_refused_before_the_run(options, data, message):
    with pytest.raises(ConfigError, match=message):
        build.experiment(config_of(options, **data))
