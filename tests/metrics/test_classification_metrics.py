"""Metrics of classifiers against scikit-learn and plain loops, split and padded in any way."""

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from cvjax.metrics import classification as metrics

K = 7
EVERYTHING = clu.metrics.Collection.create(
    mean=metrics.Mean.of(lambda logits, label, **_: logits.max(axis=-1) - label),
    accuracy=metrics.Accuracy,
    top3=metrics.Accuracy.top(3),
    confusion=metrics.ConfusionMatrix,
    counts=metrics.ClassCounts,
    recall=metrics.PerClassAccuracy,
    precision=metrics.PerClassPrecision,
    macro=metrics.MacroRecall,
    ece=metrics.CalibrationError,
    ece4=metrics.CalibrationError.with_bins(4),
)
measure = jax.jit(EVERYTHING.single_from_model_output)


def predictions(seed=0, n=60, k=K, scale=2.0):
    """Random scores, their softmax and labels that often agree with them."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(n, k)) * scale).astype(np.float32)
    label = np.where(rng.random(n) < 0.6, logits.argmax(-1), rng.integers(0, k, n))
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return {"logits": logits, "probability": p, "label": label.astype(np.int32)}


def computed(sums):
    return jax.device_get(sums).compute()


def padded(rows, size, rng):
    """The rows among `size`, the others filled with nonsense and marked as padding."""
    n = len(rows["label"])
    place = np.sort(rng.permutation(size)[:n])
    out = {}
    for name, value in rows.items():
        full = np.full((size, *value.shape[1:]), 3 if name == "label" else np.nan, value.dtype)
        full[place] = value
        out[name] = full
    return out | {"valid": np.isin(np.arange(size), place)}


def test_accuracy_confusion_and_per_class_figures_match_scikit_learn():
    rows = predictions()
    found = computed(measure(**rows))
    truth, answer = rows["label"], rows["logits"].argmax(-1)
    report = sklearn.metrics.classification_report(
        truth, answer, output_dict=True, labels=range(K), zero_division=np.nan
    )
    matrix = sklearn.metrics.confusion_matrix(truth, answer, labels=range(K))
    np.testing.assert_array_equal(found["confusion"], matrix)
    np.testing.assert_array_equal(found["counts"]["actual"], matrix.sum(1))
    np.testing.assert_array_equal(found["counts"]["predicted"], matrix.sum(0))
    assert found["accuracy"] == sklearn.metrics.accuracy_score(truth, answer)
    for name, theirs in (("recall", "recall"), ("precision", "precision")):
        np.testing.assert_allclose(found[name], [report[str(c)][theirs] for c in range(K)])
    np.testing.assert_allclose(
        found["macro"], sklearn.metrics.balanced_accuracy_score(truth, answer)
    )
    theirs = sklearn.metrics.top_k_accuracy_score(truth, rows["logits"], k=3, labels=range(K))
    np.testing.assert_allclose(found["top3"], theirs)


def test_class_without_examples_or_answers_is_nan_and_outside_the_macro_mean():
    logits = np.eye(4, dtype=np.float32)[[0, 0, 1]]  # answers: 0, 0, 1; truth: 0, 2, 1
    rows = {"logits": logits, "probability": logits, "label": np.array([0, 2, 1], np.int32)}
    found = computed(measure(**rows))
    np.testing.assert_array_equal(found["recall"], [1, 1, 0, np.nan])
    np.testing.assert_array_equal(found["precision"], [0.5, 1, np.nan, np.nan])
    np.testing.assert_allclose(found["macro"], 2 / 3)


def calibration_error_by_loops(rows, bins):
    error, n = 0.0, len(rows["label"])
    edges = np.linspace(0, 1, bins + 1).astype(np.float32)
    for m in range(bins):
        hits, confidence = [], []
        for p, y in zip(rows["probability"], rows["label"]):
            if edges[m] < p.max() <= edges[m + 1] or (m == 0 and p.max() == 0):
                hits.append(p.argmax() == y)
                confidence.append(float(p.max()))
        if hits:
            error += len(hits) / n * abs(np.mean(hits) - np.mean(confidence))
    return error


def test_calibration_error_matches_a_double_loop():
    for seed in range(3):
        rows = predictions(seed)
        found = computed(measure(**rows))
        # float32 sums of confidences in a bin
        np.testing.assert_allclose(found["ece"], calibration_error_by_loops(rows, 15), atol=1e-6)
        np.testing.assert_allclose(found["ece4"], calibration_error_by_loops(rows, 4), atol=1e-6)


def test_calibration_bins_are_open_below_and_closed_above():
    # 4 bins: 0.25 and 0.5 end the first and the second; one right, one wrong answer each.
    p = np.array([0.25, 0.2500001, 0.5, 0.5000001, 1.0, 0.0], np.float32)
    count = metrics.CalibrationError.with_bins(4).from_model_output(
        logits=jnp.zeros((6, 1)),
        label=jnp.zeros(6, jnp.int32),
        probability=jnp.asarray(p)[:, None],
    )
    np.testing.assert_array_equal(count.count, [2, 2, 1, 1])


def test_calibrated_and_overconfident_models_get_the_error_they_deserve():
    # 10 examples of confidence 0.8 in both: 8 right, then only 3 right.
    probability = np.tile(np.array([[0.8, 0.2]], np.float32), (10, 1))
    for right, error in ((8, 0.0), (3, 0.5)):
        label = np.array([0] * right + [1] * (10 - right), np.int32)
        found = computed(measure(logits=probability, probability=probability, label=label))
        np.testing.assert_allclose(found["ece"], error, atol=1e-6)


def top_k_by_loops(logits, label, k):
    """Sorts by score, highest first; Python's sort is stable, so first classes win ties."""
    found = []
    for scores, y in zip(logits.tolist(), label.tolist()):
        order = sorted(range(len(scores)), key=lambda c: -scores[c])
        found.append(y in order[:k])
    return found


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_top_k_with_ties_matches_a_stable_sort(k):
    rng = np.random.default_rng(k)
    logits = rng.integers(0, 3, (50, 6)).astype(np.float32)  # many ties
    label = rng.integers(0, 6, 50).astype(np.int32)
    ours = metrics.in_top_k(jnp.asarray(logits), jnp.asarray(label), k)
    np.testing.assert_array_equal(ours, top_k_by_loops(logits, label, k))
    if k == 1:
        np.testing.assert_array_equal(ours, logits.argmax(-1) == label)


def test_model_without_an_opinion_gets_what_guessing_gets():
    label = jnp.arange(10, dtype=jnp.int32)
    for logits in (jnp.zeros((10, 10)), jnp.full((10, 10), jnp.nan)):
        assert metrics.in_top_k(logits, label, 1).sum() == 1
        assert metrics.in_top_k(logits, label, 5).sum() == 5
        assert metrics.Accuracy.from_model_output(logits, label).compute() == 0.1


def test_label_that_is_no_class_is_never_right():
    logits, label = jnp.ones((3, 4)), jnp.array([-1, 4, 255])
    assert not metrics.in_top_k(logits, label, 4).any()
    assert metrics.ConfusionMatrix.from_model_output(logits, label).compute().sum() == 0


def test_any_split_with_any_padding_equals_the_whole():
    rows = predictions(seed=3, n=40)
    whole = computed(measure(**rows))
    rng = np.random.default_rng(0)
    for _ in range(5):
        order = rng.permutation(40)
        cuts = np.sort(rng.choice(np.arange(41), size=4))
        sums = EVERYTHING.empty()
        for part in np.split(order, cuts):  # parts may be empty
            batch = padded({name: value[part] for name, value in rows.items()}, 40, rng)
            sums = sums.merge(measure(**batch))
        found = computed(sums)
        for name in whole:
            # counts are exact; float32 sums of 40 values differ in order
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                found[name],
                whole[name],
            )


def test_merging_with_empty_changes_nothing():
    sums = measure(**predictions())
    both = EVERYTHING.empty().merge(sums).merge(EVERYTHING.empty())
    jax.tree.map(np.testing.assert_array_equal, computed(both), computed(sums))


def test_nothing_valid_is_nan_not_an_error():
    rows = predictions(n=4)
    found = computed(measure(**rows, valid=np.zeros(4, bool)))
    assert np.isnan([found[name] for name in ("mean", "accuracy", "macro", "ece")]).all()
    assert found["confusion"].sum() == 0


def test_figures_on_the_device_equal_those_on_the_host():
    sums = measure(**predictions())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), sums.compute(), computed(sums)
    )
    assert computed(sums)["accuracy"].dtype == np.float64


def test_mean_takes_values_as_they_come():
    found = metrics.Mean.from_model_output(
        jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True])
    )
    assert found.compute() == 2
