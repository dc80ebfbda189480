"""The classification task: what it minimises, reports, predicts and refuses."""

import functools
from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses import classification as losses
from cvjax.tasks.classification import Classification


class Tiny(nn.Module):
    """Batch norm, dropout and a dense head: every kind of state that a classifier has."""

    num_classes: int | None
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1).astype(self.dtype)
        x = nn.BatchNorm(use_running_average=not train, dtype=self.dtype, name="norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x), {"pooled": x}


@dataclass(frozen=True)
class Info:
    name: str
    num_classes: int | None


TASK = Classification(Tiny(7))
KEY = jax.random.key(0)


def example_batch(b=6, k=7):
    image_key, label_key = jax.random.split(KEY)
    image = jax.random.uniform(image_key, (b, 2, 3, 1))
    return {"image": image, "label": jax.random.randint(label_key, (b,), 0, k, jnp.int32)}


@functools.cache
def compiled_loss(task):
    """`task.loss` as one program, which a test compiles faster than operation by operation."""
    return jax.jit(task.loss)


def loss_of(task, variables, batch, rngs=None):
    return compiled_loss(task)(variables, batch, rngs or {})


def training_scores(task, variables, batch):
    """The logits that `loss` sees."""

    def scores(variables, image):
        (logits, _), _ = task.model.apply(variables, image, train=True, mutable=["batch_stats"])
        return logits

    return jax.jit(scores)(variables, batch["image"])


BATCH = example_batch()
VARIABLES = jax.jit(TASK.init)(KEY, BATCH)


def test_init_gives_all_collections_also_without_computing():
    assert set(VARIABLES) == {"params", "batch_stats"}
    shapes = jax.eval_shape(TASK.init, KEY, BATCH)
    assert shapes["params"]["head"]["kernel"].shape == (6, 7)


def test_loss_is_the_mean_cross_entropy_and_reports_the_training_accuracy():
    loss, aux = loss_of(TASK, VARIABLES, BATCH)
    logits = training_scores(TASK, VARIABLES, BATCH)
    np.testing.assert_allclose(
        loss, losses.softmax_cross_entropy(logits, BATCH["label"]).mean(), rtol=1e-6
    )
    assert set(aux["metrics"]) == {"loss", "accuracy"}
    assert aux["metrics"]["loss"] == loss
    hits = logits.argmax(-1) == BATCH["label"]
    np.testing.assert_allclose(aux["metrics"]["accuracy"], hits.mean(), rtol=1e-6)


def test_loss_returns_moved_statistics_and_leaves_its_arguments_alone():
    before = jax.tree.map(np.array, VARIABLES)
    _, aux = loss_of(TASK, VARIABLES, BATCH)
    assert set(aux["mutated"]) == {"batch_stats"}
    mean = 0.01 * BATCH["image"].reshape(6, -1).mean(axis=0)  # flax: momentum 0.99
    np.testing.assert_allclose(aux["mutated"]["batch_stats"]["norm"]["mean"], mean, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, before, VARIABLES)


def test_model_without_statistics_mutates_nothing():
    class Plain(nn.Module):
        num_classes: int = 3

        @nn.compact
        def __call__(self, image, *, train):
            return nn.Dense(self.num_classes)(image.mean(axis=(1, 2))), {}

    task = Classification(Plain())
    batch = example_batch(k=3)
    _, aux = jax.eval_shape(lambda: task.loss(task.init(KEY, batch), batch, {}))
    assert aux["mutated"] == {}


def test_dropout_draws_from_the_given_rngs():
    task = replace(TASK, model=Tiny(7, dropout=0.5))
    first, again, other = (
        loss_of(task, VARIABLES, BATCH, {"dropout": jax.random.key(seed)})[0] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("loss_name", ["softmax", "sigmoid", "hinge", "squared_hinge"])
def test_padding_changes_neither_loss_nor_gradient(loss_name):
    class Linear(nn.Module):  # batch norm would see the padding
        num_classes: int = 7

        @nn.compact
        def __call__(self, image, *, train):
            return nn.Dense(self.num_classes)(image.reshape(image.shape[0], -1)), {}

    task = Classification(Linear(), loss_name=loss_name)
    variables = jax.jit(task.init)(KEY, BATCH)
    longer = {
        "image": jnp.concatenate([BATCH["image"], jnp.ones((2, 2, 3, 1))]),
        "label": jnp.concatenate([BATCH["label"], jnp.array([0, -1], jnp.int32)]),
        "valid": jnp.arange(8) < 6,
    }
    gradient = jax.jit(jax.value_and_grad(lambda v, b: task.loss(v, b, {}), has_aux=True))
    (loss, aux), grads = gradient(variables, BATCH)
    (padded_loss, padded_aux), padded_grads = gradient(variables, longer)
    np.testing.assert_allclose(padded_loss, loss, rtol=1e-6)
    assert padded_aux["metrics"]["accuracy"] == aux["metrics"]["accuracy"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), padded_grads, grads
    )


def mixed(batch, share):
    other = batch["label"][::-1]
    return batch | {"mixed_label": other, "mix_weight": jnp.full(other.shape, share)}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_labels_equal_mixed_probabilities(smoothing):
    task = replace(TASK, label_smoothing=smoothing)
    loss, _ = loss_of(task, VARIABLES, mixed(BATCH, 0.3))
    label, other = (jax.nn.one_hot(y, 7) for y in (BATCH["label"], BATCH["label"][::-1]))
    expected = losses.softmax_cross_entropy(
        training_scores(task, VARIABLES, BATCH),
        0.7 * label + 0.3 * other,
        label_smoothing=smoothing,
    ).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_accuracy_of_mixed_examples_is_against_the_larger_share():
    answers = training_scores(TASK, VARIABLES, BATCH).argmax(-1)
    batch = BATCH | {"label": answers, "mixed_label": (answers + 1) % 7}
    for share, accuracy in ((0.0, 1.0), (0.5, 1.0), (0.6, 0.0)):
        weights = jnp.full(answers.shape, share)
        _, aux = loss_of(TASK, VARIABLES, batch | {"mix_weight": weights})
        assert aux["metrics"]["accuracy"] == accuracy


def test_class_weights_give_the_weighted_mean():
    weights = (1.0, 2.0, 0.5, 1.0, 3.0, 0.1, 1.0)
    loss, _ = loss_of(replace(TASK, class_weights=weights), VARIABLES, BATCH)
    values = losses.softmax_cross_entropy(training_scores(TASK, VARIABLES, BATCH), BATCH["label"])
    each = np.asarray(weights)[np.asarray(BATCH["label"])]
    np.testing.assert_allclose(loss, np.average(values, weights=each), rtol=1e-6)


def test_sum_is_the_mean_times_the_number_of_examples():
    total, _ = loss_of(replace(TASK, reduction="sum"), VARIABLES, BATCH)
    np.testing.assert_allclose(total, 6 * loss_of(TASK, VARIABLES, BATCH)[0], rtol=1e-6)


def test_penalty_is_added_to_the_training_loss_and_reported():
    loss, aux = loss_of(replace(TASK, l1=0.1, l2=0.2), VARIABLES, BATCH)
    w = np.asarray(VARIABLES["params"]["head"]["kernel"])
    penalty = 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum()
    np.testing.assert_allclose(aux["metrics"]["penalty"], penalty, rtol=1e-6)
    np.testing.assert_allclose(loss - loss_of(TASK, VARIABLES, BATCH)[0], penalty, rtol=1e-5)


class TwoHeaded(nn.Module):
    """Two auxiliary heads; only their and the main logits matter."""

    num_classes: int = 7

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        logits, aux1, aux2 = (
            nn.Dense(self.num_classes, name=name)(x) for name in ("head", "aux1", "aux2")
        )
        return logits, {"pooled": x, "aux1_logits": aux1, "aux2_logits": aux2}


def three_losses(task, batch):
    """(what `task` minimises, its metrics, the losses of the three logits each on its own)."""
    variables = jax.jit(task.init)(KEY, batch)
    loss, aux = loss_of(task, variables, batch)
    alone = []
    for name in ("head", "aux1", "aux2"):

        class Alone(nn.Module):
            num_classes: int = 7
            head: str = name

            @nn.compact
            def __call__(self, image, *, train):
                x = image.reshape(image.shape[0], -1)
                return nn.Dense(self.num_classes, name=self.head)(x), {}

        params = {"params": {name: variables["params"][name]}}
        alone.append(loss_of(replace(task, model=Alone()), params, batch)[0])
    return loss, aux["metrics"], alone


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, lambda batch: batch),
        ({"reduction": "sum", "label_smoothing": 0.1}, lambda batch: mixed(batch, 0.3)),
        ({"loss_name": "hinge"}, lambda b: b | {"valid": jnp.arange(6) < 4}),
    ],
)
def test_auxiliary_heads_add_their_weighted_losses_in_training(options, changed):
    task = Classification(TwoHeaded(), aux_weight=0.4, **options)
    loss, figures, (main, *auxiliary) = three_losses(task, changed(BATCH))
    np.testing.assert_allclose(loss, main + 0.4 * sum(auxiliary), rtol=1e-5)
    np.testing.assert_allclose(figures["aux_loss"], 0.4 * sum(auxiliary), rtol=1e-5)
    assert figures["loss"] == loss


def test_auxiliary_weight_is_googlenets_unless_told_and_nothing_to_other_models():
    assert TASK.aux_weight == 0.3
    other = loss_of(replace(TASK, aux_weight=5.0), VARIABLES, BATCH)
    jax.tree.map(np.testing.assert_array_equal, other, loss_of(TASK, VARIABLES, BATCH))


def test_auxiliary_heads_learn_from_their_own_loss_alone():
    task = Classification(TwoHeaded(), aux_weight=0.5)
    variables = jax.jit(task.init)(KEY, BATCH)
    gradient = jax.jit(jax.grad(lambda v, t: t.loss(v, BATCH)[0]), static_argnums=1)
    whole, none = (gradient(variables, replace(task, aux_weight=w))["params"] for w in (0.5, 0.0))
    assert not np.any(none["aux1"]["kernel"])
    assert np.any(whole["aux1"]["kernel"])
    np.testing.assert_allclose(whole["head"]["kernel"], none["head"]["kernel"], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss_name", "expected"),
    [("softmax", np.log(7)), ("sigmoid", 7 * np.log(2)), ("hinge", 6), ("squared_hinge", 6)],
)
def test_initial_loss_of_zero_weights_is_known(loss_name, expected):
    task = replace(TASK, loss_name=loss_name)
    nothing = {**VARIABLES, "params": jax.tree.map(jnp.zeros_like, VARIABLES["params"])}
    np.testing.assert_allclose(loss_of(task, nothing, BATCH)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("loss_name", ["softmax", "sigmoid", "hinge"])
def test_predict_gives_float32_scores_and_probabilities_where_there_are_any(loss_name):
    task = replace(TASK, model=Tiny(7, dropout=0.5, dtype=jnp.bfloat16), loss_name=loss_name)
    outputs = jax.jit(task.predict)(VARIABLES, BATCH)
    assert outputs["logits"].dtype == jnp.float32
    if loss_name == "hinge":
        assert set(outputs) == {"logits"}
    else:
        p = outputs["probability"]
        assert ((p > 0) & (p < 1)).all()
    if loss_name == "softmax":
        np.testing.assert_allclose(outputs["probability"].sum(-1), 1, rtol=1e-6)


def test_predict_of_an_example_does_not_depend_on_its_batch():
    outputs = TASK.predict(VARIABLES, BATCH)
    alone = TASK.predict(VARIABLES, {"image": BATCH["image"][2:3]})
    np.testing.assert_allclose(alone["logits"][0], outputs["logits"][2], rtol=1e-5, atol=1e-6)


ALWAYS = {"loss", "accuracy", "macro_recall", "per_class_accuracy", "per_class_precision"}


@pytest.mark.parametrize(
    ("loss_name", "num_classes", "extra"),
    [
        ("softmax", 5, {"calibration_error", "confusion_matrix"}),
        ("softmax", 6, {"calibration_error", "confusion_matrix", "top5_accuracy"}),
        ("sigmoid", 2, {"calibration_error", "confusion_matrix"}),
        ("hinge", 10, {"confusion_matrix", "top5_accuracy"}),
        ("softmax", 21841, {"calibration_error", "top5_accuracy"}),
    ],
)
def test_metrics_depend_on_the_loss_and_the_number_of_classes(loss_name, num_classes, extra):
    collection = Classification(Tiny(num_classes), loss_name=loss_name).metrics()
    assert set(collection.__annotations__) == ALWAYS | extra


@pytest.mark.parametrize("loss_name", ["softmax", "sigmoid", "hinge", "squared_hinge"])
def test_evaluation_loss_has_neither_smoothing_nor_penalty(loss_name):
    smoothing = 0.0 if "hinge" in loss_name else 0.1
    task = replace(TASK, loss_name=loss_name, label_smoothing=smoothing, l2=0.1)
    outputs = jax.jit(task.predict)(VARIABLES, BATCH)
    measure = jax.jit(task.metrics().single_from_model_output)
    found = measure(**outputs, label=BATCH["label"]).compute()
    plain = {
        "softmax": losses.softmax_cross_entropy,
        "sigmoid": losses.sigmoid_cross_entropy,
        "hinge": losses.multiclass_hinge,
        "squared_hinge": lambda x, y: losses.multiclass_hinge(x, y, squared=True),
    }[loss_name]
    np.testing.assert_allclose(
        found["loss"], plain(outputs["logits"], BATCH["label"]).mean(), rtol=1e-6
    )


# ---- errors


def test_class_count_that_disagrees_with_the_data_is_an_error():
    TASK.check(Info("digits[train]", 7))
    TASK.check(Info("folder[train]", None))
    with pytest.raises(ValueError, match=r"got 7, but digits\[train\] has 10 .*num_classes=10"):
        TASK.check(Info("digits[train]", 10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_name": "softmx"}, r"task\.loss_name: got 'softmx', expected one of softmax"),
        ({"reduction": "square"}, r"task\.reduction: got 'square'"),
        ({"label_smoothing": 1.0}, r"task\.label_smoothing: got 1\.0"),
        ({"loss_name": "hinge", "label_smoothing": 0.1}, "a hinge has no soft labels"),
        ({"loss_name": "sigmoid", "class_weights": (1.0,) * 7}, "only softmax has them"),
        ({"class_weights": (1.0,)}, "got 1 weights for 7 classes"),
        ({"margin": 2.0}, "only the hinges have one"),
        ({"l2": -1.0}, r"task\.l1, task\.l2"),
        ({"calibration_bins": 0}, r"task\.calibration_bins"),
        ({"aux_weight": -0.1}, r"task\.aux_weight: got -0\.1"),
        ({"model": Tiny(None)}, "a backbone without a head"),
    ],
)
def test_option_that_cannot_be_meant_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        replace(TASK, **options)


def test_all_wrong_options_are_reported_at_once():
    with pytest.raises(ValueError, match=r"(?s)loss_name.*reduction"):
        replace(TASK, loss_name="no", reduction="no")


def test_uint8_images_are_refused():
    with pytest.raises(ValueError, match="got uint8, expected float"):
        TASK.predict(VARIABLES, {"image": jnp.zeros((1, 2, 3, 1), jnp.uint8)})
