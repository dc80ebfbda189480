"""What is learnt from features: neighbours like scikit-learn's, probes as SciPy fits them."""

import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from ml_collections import ConfigDict
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from cvjax import build
from cvjax.config import ConfigError
from cvjax.data.source import stratified_split
from cvjax.evaluators.knn import NearestNeighbours, nearest_neighbours
from cvjax.evaluators.linear_probe import LinearProbe


def features(variables, batch):
    """Features are the images, scaled."""
    return {"pooled": batch["image"] * variables}


def split(n, seed, *, classes=4, shape=(2, 3, 1)):
    """Noisy clusters, one a class: some are mistaken."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, *shape))
    labels = rng.permutation(np.arange(n) % classes).astype(np.int32)
    images = centres[labels] + rng.normal(size=(n, *shape))
    return {"image": images.astype(np.float32), "label": labels}


def batches_of(rows, size=8):
    """The last batch is filled up with the first row, marked invalid."""
    for start in range(0, len(rows["label"]), size):
        index = np.arange(start, start + size)
        valid = index < len(rows["label"])
        yield {k: v[np.where(valid, index, 0)] for k, v in rows.items()} | {"valid": valid}


TRAIN, TEST = split(50, 0), split(29, 1)
SCALE = jnp.float32(0.5)


def run(evaluator, train=TRAIN, test=TEST):
    return evaluator.run(
        SCALE,
        batches_of(test),
        training=batches_of(train),
        num_examples=len(test["label"]),
        num_training=len(train["label"]),
    )


def flat(rows):
    return rows["image"].reshape(len(rows["label"]), -1).astype(np.float64) * 0.5


def test_neighbours_vote_as_those_of_scikit_learn():
    weights = {"uniform": "uniform", "weighted": lambda distance: np.exp((1 - distance) / 0.5)}
    for options in (
        {"k": 1},
        {"k": 6},
        {"k": 50, "vote": "weighted", "temperature": 0.5},
        {"k": 7, "distance": "euclidean"},
    ):
        found = run(NearestNeighbours(features, **options))
        theirs = KNeighborsClassifier(
            options["k"],
            metric=options.get("distance", "cosine"),
            weights=weights[options.get("vote", "uniform")],
            algorithm="brute",
        )
        predicted = theirs.fit(flat(TRAIN), TRAIN["label"]).predict(flat(TEST))
        expected = confusion_matrix(TEST["label"], predicted)
        np.testing.assert_array_equal(found.arrays["confusion_matrix"], expected)
        assert found.scalars == {"accuracy": np.trace(expected) / 29}
        assert 0.3 < found.scalars["accuracy"] < 1
        assert found.num_examples == 29
        np.testing.assert_allclose(
            found.arrays["per_class_accuracy"], np.diag(expected) / expected.sum(axis=1)
        )


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_neighbours_are_those_of_a_loop_and_ties_go_by_order(distance, monkeypatch):
    monkeypatch.setattr("cvjax.evaluators.knn._CHUNK", 100)  # several chunks
    rng = np.random.default_rng(0)
    half = rng.integers(-2, 3, (20, 2))
    known = np.concatenate([half, -half]).astype(np.float32)  # mean 0, many equally far
    asked = rng.integers(-2, 3, (9, 2)).astype(np.float32)
    asked[0] = 0
    indices, similarity = nearest_neighbours(known, asked, k=5, distance=distance)
    for i, x in enumerate(asked):
        scores = []
        for y in known:
            if distance == "euclidean":
                scores.append(-sum((a - b) ** 2 for a, b in zip(x, y)))
            else:
                norms = np.sqrt(float((x * x).sum()) * float((y * y).sum()))
                scores.append(float((x * y).sum()) / norms if norms else 0.0)
        order = sorted(range(40), key=lambda j: (-scores[j], j))[:5]
        np.testing.assert_allclose(similarity[i], [scores[j] for j in order], atol=1e-12)
        if distance == "euclidean":  # cosines of multiples differ by rounding
            assert indices[i].tolist() == order


def test_a_sharp_weighted_vote_is_that_of_the_nearest():
    sharp = run(NearestNeighbours(features, k=50, vote="weighted", temperature=1e-5))
    nearest = run(NearestNeighbours(features, k=1))
    np.testing.assert_array_equal(
        sharp.arrays["confusion_matrix"], nearest.arrays["confusion_matrix"]
    )


def fitted_by_scipy(x, y, strength, classes=4):
    """Weights [D, K] and biases [K] of the least mean cross-entropy + strength / 2 * |W|^2."""
    d = x.shape[1]

    def loss(flat_weights):
        w, b = flat_weights[: d * classes].reshape(d, classes), flat_weights[d * classes :]
        logits = x @ w + b
        error = (scipy.special.softmax(logits, axis=1) - np.eye(classes)[y]) / len(y)
        log_p = scipy.special.log_softmax(logits, axis=1)[np.arange(len(y)), y]
        gradient = np.concatenate([(x.T @ error + strength * w).ravel(), error.sum(axis=0)])
        return -log_p.mean() + strength / 2 * (w**2).sum(), gradient

    start = np.zeros(d * classes + classes)
    exact = {"maxiter": 5000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-7}
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=exact).x
    return found[: d * classes].reshape(d, classes), found[d * classes :]


def test_probe_is_softmax_regression_whose_penalty_a_held_out_part_chooses():
    strengths = (1e-4, 0.03, 3.0)
    found = run(LinearProbe(features, strengths=strengths, held_out=0.3, seed=5))
    mean, deviation = flat(TRAIN).mean(axis=0), flat(TRAIN).std(axis=0)
    x, y = (flat(TRAIN) - mean) / deviation, TRAIN["label"]
    test_x = (flat(TEST) - mean) / deviation
    parts = stratified_split(y, {"held_out": 0.3}, seed=5)
    fit, held = parts["train"], parts["held_out"]

    def hits(w, b, x, y):
        return float(np.mean((x @ w + b).argmax(axis=1) == y))

    choice = {s: hits(*fitted_by_scipy(x[fit], y[fit], s), x[held], y[held]) for s in strengths}
    assert len(set(choice.values())) > 1  # there is something to choose
    strength = max(sorted(strengths, reverse=True), key=choice.get)
    w, b = fitted_by_scipy(x, y, strength)
    assert found.scalars["strength"] == strength
    assert found.scalars["held_out_accuracy"] == choice[strength]
    assert found.scalars["train_accuracy"] == hits(w, b, x, y)
    assert found.scalars["accuracy"] == hits(w, b, test_x, TEST["label"])
    assert found.scalars["converged"] == 1
    np.testing.assert_array_equal(
        found.arrays["confusion_matrix"],
        confusion_matrix(TEST["label"], (test_x @ w + b).argmax(axis=1)),
    )


def test_probe_says_when_it_did_not_converge():
    hasty = run(LinearProbe(features, strengths=(1e-5,), max_iterations=2))
    assert (hasty.scalars["converged"], hasty.scalars["iterations"]) == (0, 2)


def test_classes_that_the_training_split_lacks_count_as_wrong():
    few = {name: value[TRAIN["label"] < 3] for name, value in TRAIN.items()}
    for evaluator in (NearestNeighbours(features, k=3), LinearProbe(features, strengths=(0.1,))):
        found = run(evaluator, train=few)
        assert found.arrays["confusion_matrix"].shape == (4, 4)
        assert found.arrays["confusion_matrix"][:, 3].sum() == 0
        counts = found.arrays["confusion_matrix"].sum(axis=1)
        assert dict(enumerate(counts)) == Counter(TEST["label"].tolist())


def test_rows_that_no_probe_can_use_are_refused():
    alike = TRAIN | {"label": np.zeros(50, np.int32)}
    broken = TRAIN | {"image": np.where(np.arange(50)[:, None, None, None] == 9, np.nan, 1.0)}
    one_each = {name: value[:4] for name, value in split(4, 3).items()}
    for evaluator, train, message in (
        (NearestNeighbours(features, k=51), TRAIN, "k=51, but there are 50"),
        (NearestNeighbours(features), broken, "not finite for 1 of 50 .* number 9"),
        (LinearProbe(features), alike, "every training example has label 0"),
        (LinearProbe(features), one_each, "held_out=0.2 .* no example"),
        (LinearProbe(features, feature="stride4"), TRAIN, "no such features. There are pooled"),
    ):
        with pytest.raises(ValueError, match=message):
            run(evaluator, train=train)


# By a config


def config(**evals) -> ConfigDict:
    return ConfigDict(
        {
            "model": {"name": "linear"},
            "task": {"name": "classification"},
            "data": {
                "name": "digits",
                "options": {"test_fraction": 0.9},  # 180 to train on: the probes fit in no time
                "batch_size": 64,
                "mean": 0.3,
                "std": 0.4,
            },
            "optim": {"name": "sgd", "lr": 0.1},
            "evals": evals,
            "train": {"steps": 1, "monitor": "test_knn/accuracy", "tensorboard": False},
        }
    )


@pytest.mark.slow
def test_any_run_can_ask_for_them_in_its_evals(tmp_path, monkeypatch):
    from cvjax.train import loop

    # Drawing takes longer than all the rest, and has tests of its own.
    monkeypatch.setattr("cvjax.vis.curves.plot_curves", lambda *_: None)
    monkeypatch.setattr("cvjax.vis.report.write_report", lambda *_: None)
    experiment = build.experiment(
        config(
            test={"split": "test"},
            test_knn={"split": "test", "evaluator": "knn", "options": {"k": 3}},
            probe={
                "split": "test",
                "evaluator": "linear_probe",
                "options": {"strengths": [0.1], "standardize": False},
            },
        )
    )
    outcome = loop.run(experiment, tmp_path)

    def pixels(source):
        return (source.images.reshape(len(source), -1) / 255 - 0.3) / 0.4, source.labels

    (x, y), (test_x, test_y) = map(
        pixels, (experiment.train_source, experiment.evals["test"].source)
    )
    theirs = KNeighborsClassifier(3, metric="cosine", algorithm="brute").fit(x, y)
    assert outcome.figures["test_knn/accuracy"] == theirs.score(test_x, test_y) > 0.8
    w, b = fitted_by_scipy(x, y, 0.1, classes=10)
    expected = np.mean((test_x @ w + b).argmax(axis=1) == test_y)
    assert outcome.figures["probe/accuracy"] == expected
    assert outcome.figures["test/accuracy"] < expected  # the model's own head, after one step
    written = json.loads((tmp_path / "evals" / "test_knn.json").read_text())
    assert np.sum(written["confusion_matrix"]) == written["num_examples"] == len(test_y)
    assert loop.evaluate(experiment, tmp_path) == pytest.approx(outcome.figures)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"evaluator": "kn"}, "evals.x.evaluator='kn': .* Did you mean 'knn'"),
        ({"options": {"k": 3}}, "evals.x.options=.*: the task's own evaluator has none"),
        ({"evaluator": "knn", "options": {"kk": 3}}, "evals.x.options.kk: .* Did you mean 'k'"),
        ({"evaluator": "knn", "options": {"k": 0}}, "k=0: at least one"),
        ({"evaluator": "knn", "options": {"k": 2.5}}, "evals.x.options.k=2.5 is not of type int"),
        ({"evaluator": "knn", "options": {"distance": "l1"}}, "distance='l1': use one of"),
        (
            {"evaluator": "knn", "options": {"vote": "weighted", "distance": "euclidean"}},
            "set distance='cosine'",
        ),
        ({"evaluator": "linear_probe", "options": {"strengths": []}}, "strengths=.*give some"),
        ({"evaluator": "linear_probe", "options": {"held_out": 1.0}}, "held_out=1.0"),
        ({"evaluator": "knn", "split": "train"}, "evals.x.split='train': knn learns from this"),
    ],
)
def test_wrong_entries_are_refused_by_name(entry, message):
    with pytest.raises(ConfigError, match=message):
        build.experiment(config(x={"split": "test", **entry}))


def test_features_that_the_model_lacks_are_refused_before_training(tmp_path):
    from cvjax.train import loop

    entry = {"split": "test", "evaluator": "knn", "options": {"feature": "stride8"}}
    with pytest.raises(ValueError, match=r"'stride8'.*There are pooled"):
        loop.run(build.experiment(config(test_knn=entry)), tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_maps_are_flattened_and_padding_left_out_of_what_is_read():
    from cvjax.evaluators.features import FeatureReader

    rows = FeatureReader(features, "pooled").read(SCALE, batches_of(TEST))
    np.testing.assert_array_equal(rows.features, flat(TEST).astype(np.float32))
    np.testing.assert_array_equal(rows.labels, TEST["label"])
    assert jax.tree.map(lambda x: x.dtype.name, (rows.features, rows.labels)) == (
        "float32",
        "int32",
    )
