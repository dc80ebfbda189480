"""Each verdict is given to a run that was made to deserve it, and to no healthy one."""

import math

import numpy as np
import pytest

from cvjax.vis.diagnosis import (
    SEVERITIES,
    Finding,
    diagnose,
    guessing_figures,
    initial_loss,
)

TEN_CLASSES = guessing_figures("softmax", 10)
STEPS = np.arange(1, 101) / 100  # the run from 0 to 1
EVALS = np.arange(10, 101, 10)


def run(train_loss=None, train_accuracy=None, test_loss=None, test_accuracy=None, lr=None):
    """Records of 100 steps; curves are functions of the part of the run that is over."""
    records = []
    for index, part in enumerate(STEPS, start=1):
        record = {"step": index}
        for name, curve in (
            ("train/loss", train_loss),
            ("train/accuracy", train_accuracy),
            ("lr", lr),
        ):
            if curve is not None:
                record[name] = float(curve(part))
        records.append(record)
        if index in EVALS:
            evaluation = {"step": index}
            for name, curve in (("test/loss", test_loss), ("test/accuracy", test_accuracy)):
                if curve is not None:
                    evaluation[name] = float(curve(part))
            records.append(evaluation)
    return records


def healthy(**changed):
    """A run that learns to 95% and levels off."""
    curves = {
        "train_loss": lambda t: 0.15 + 2.15 * math.exp(-12 * t),
        "train_accuracy": lambda t: 0.96 - 0.85 * math.exp(-12 * t),
        "test_loss": lambda t: 0.18 + 2.1 * math.exp(-12 * t),
        "test_accuracy": lambda t: 0.95 - 0.85 * math.exp(-12 * t),
        "lr": lambda t: 0.1 * (1 - t) + 1e-3,
    }
    return run(**(curves | changed))


def verdicts(records, **options) -> list[str]:
    return [finding.verdict for finding in diagnose(records, guessing=TEN_CLASSES, **options)]


def the_finding(verdict: str, records, **options) -> Finding:
    findings = diagnose(records, guessing=TEN_CLASSES, **options)
    (found,) = [finding for finding in findings if finding.verdict == verdict]
    return found


def test_a_healthy_run_is_a_good_fit_and_nothing_else():
    assert verdicts(healthy()) == ["good fit"]


def test_a_big_gap_between_train_and_held_out_is_overfitting():
    records = healthy(test_accuracy=lambda t: 0.80 - 0.7 * math.exp(-12 * t))
    found = the_finding("overfit", records)
    assert found.severity == "problem"
    assert found.figures["gap"] == pytest.approx(0.96 - 0.80, abs=2e-3)
    assert found.figures["test_accuracy"] == pytest.approx(0.80, abs=1e-4)


def test_a_gap_within_the_noise_of_few_examples_is_no_overfitting():
    records = healthy(test_accuracy=lambda t: 0.90 - 0.8 * math.exp(-12 * t))
    assert "overfit" in verdicts(records)
    assert "overfit" not in verdicts(records, num_examples={"test": 50})


def test_no_gap_and_low_accuracy_is_underfitting():
    records = healthy(
        train_loss=lambda t: 1.4 + 0.9 * math.exp(-12 * t),
        train_accuracy=lambda t: 0.5 - 0.4 * math.exp(-12 * t),
        test_accuracy=lambda t: 0.49 - 0.4 * math.exp(-12 * t),
    )
    found = the_finding("underfit", records)
    assert found.severity == "problem"
    assert found.figures["way_from_guessing_to_perfect"] == pytest.approx(0.4 / 0.9, abs=5e-3)


def test_a_training_accuracy_far_below_the_held_out_one_is_named_and_no_problem():
    records = healthy(train_accuracy=lambda t: 0.85 - 0.75 * math.exp(-12 * t))
    found = the_finding("good fit", records)
    assert found.figures["gap"] < -0.05
    assert "augmentation" in found.advice


def test_loss_may_rise_while_accuracy_rises():
    records = healthy(
        test_loss=lambda t: 0.3 + 2 * math.exp(-12 * t) + 0.3 * t,
        test_accuracy=lambda t: 0.94 + 0.01 * t - 0.85 * math.exp(-12 * t),
    )
    found = the_finding("loss up, accuracy up", records)
    assert found.severity == "note"
    assert found.figures["final_accuracy"] > found.figures["accuracy_then"]
    assert found.figures["final_loss"] > 1.1 * found.figures["lowest_loss"]


def test_a_rising_loss_with_a_level_accuracy_is_said_to_be_that():
    records = healthy(
        test_loss=lambda t: 0.3 + 2 * math.exp(-12 * t) + 0.3 * t,
        test_accuracy=lambda t: 0.94 - 0.001 * t,
    )
    assert "loss up, accuracy level" in verdicts(records)


def test_a_held_out_loss_that_rises_as_accuracy_falls_is_a_problem():
    records = healthy(
        test_loss=lambda t: 0.3 + 2 * math.exp(-12 * t) + 0.3 * t,
        test_accuracy=lambda t: 0.97 - 0.1 * t - 0.85 * math.exp(-12 * t),
    )
    assert the_finding("held-out loss rises", records).severity == "problem"
    assert "loss up, accuracy up" not in verdicts(records)


def test_a_rising_held_out_loss_is_found_without_any_accuracy():
    records = run(
        train_loss=lambda t: 2 * math.exp(-3 * t),
        test_loss=lambda t: 2 * math.exp(-12 * t) + t,
    )
    assert "held-out loss rises" in verdicts(records)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_step(bad):
    records = healthy(train_loss=lambda t: bad if t >= 0.5 else 2 - t)
    found = the_finding("not finite", records)
    assert found.severity == "problem"
    assert found.figures["first_bad_step"] == 50
    assert found.figures["last_finite_loss"] == pytest.approx(2 - 0.49)


def test_a_loss_that_runs_away_has_diverged():
    records = healthy(train_loss=lambda t: 2 * math.exp(-10 * t) if t < 0.5 else 2 + 5 * t)
    assert the_finding("diverged", records).severity == "problem"


def test_a_tiny_loss_that_trebles_has_not_diverged():
    records = healthy(train_loss=lambda t: max(2 * math.exp(-20 * t), 1e-4 * (1 + 30 * t)))
    assert "diverged" not in verdicts(records)


def test_a_spike_that_heals_is_a_note():
    def loss(t):
        return 4.0 if t == STEPS[39] else 0.2 + 2 * math.exp(-12 * t)

    found = the_finding("loss spikes", healthy(train_loss=loss))
    assert found.severity == "note"
    assert found.figures["at_step"] == 40


def test_a_loss_at_the_level_of_guessing_means_nothing_was_learnt():
    records = healthy(
        train_loss=lambda t: math.log(10) + 0.01 * math.sin(40 * t),
        train_accuracy=lambda t: 0.1,
        test_loss=lambda t: math.log(10),
        test_accuracy=lambda t: 0.1,
    )
    found = the_finding("not learning", records)
    assert found.severity == "problem"
    assert found.figures["chance_loss"] == pytest.approx(2.302585)
    assert "underfit" not in verdicts(records)


def test_a_first_loss_far_above_guessing_is_a_note():
    records = healthy(train_loss=lambda t: 0.1 + 12 * math.exp(-15 * t))
    assert the_finding("high initial loss", records).figures["first_loss"] > 2 * math.log(10)


def test_a_run_that_ends_in_full_progress_should_be_longer():
    records = healthy(test_accuracy=lambda t: 0.5 + 0.4 * t)
    found = the_finding("still improving", records)
    assert found.figures["last_quarter_gain"] > 0.1
    assert "still 0.001" in found.advice


def test_an_annealed_run_that_improves_is_told_to_stretch_its_schedule():
    records = healthy(
        test_accuracy=lambda t: 0.5 + 0.4 * t, lr=lambda t: 0.1 * (1 + math.cos(math.pi * t)) / 2
    )
    assert "stretched" in the_finding("still improving", records).advice


def test_progress_within_the_noise_of_few_examples_is_no_progress():
    records = healthy(test_accuracy=lambda t: 0.97 + 0.01 * t)
    assert "still improving" in verdicts(records, num_examples={"test": 10_000})
    assert "still improving" not in verdicts(records, num_examples={"test": 300})


def test_a_second_half_without_a_new_best_is_a_plateau():
    records = healthy(test_accuracy=lambda t: 0.9 if t >= 0.3 else 3 * t)
    found = the_finding("plateau", records)
    assert found.figures["at_step"] == 30


def test_a_best_that_is_not_last_is_named():
    records = healthy(test_accuracy=lambda t: 0.95 if t == 0.8 else 0.9 + 0.01 * t)
    found = the_finding("best is not last", records)
    assert found.figures["at_step"] == 80
    assert found.figures["best"] == pytest.approx(0.05)


def test_a_loss_that_creeps_evenly_asks_for_a_higher_learning_rate():
    found = the_finding("learning rate low", healthy(train_loss=lambda t: 2.3 - 0.4 * t))
    assert found.figures["peak_lr"] == pytest.approx(0.1, rel=0.02)


def test_a_wildly_jumping_loss_is_noisy():
    rng = np.random.default_rng(0)

    def loss(t):
        return (0.2 + 2 * math.exp(-6 * t)) * math.exp(1.0 * rng.normal())

    assert "noisy" in verdicts(healthy(train_loss=loss))


def test_problems_come_first():
    records = healthy(
        train_loss=lambda t: math.nan if t > 0.9 else 0.1 + 12 * math.exp(-15 * t),
        test_accuracy=lambda t: 0.5 + 0.4 * t,
    )
    order = [SEVERITIES.index(each.severity) for each in diagnose(records, guessing=TEN_CLASSES)]
    assert order == sorted(order)
    assert order[0] == 0


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 1}],
        [{"step": 1, "train/loss": 2.0}],
        [{"step": 1, "train/loss": math.nan}],
        [{"step": 1, "test/accuracy": 0.5}],
        [{"step": 1, "coco/AP": 0.3, "train/loss": 0.0}],
        [{"step": i, "train/loss": 0.0, "test/loss": 0.0} for i in range(30)],
        [{"step": i, "train/loss": -float(i), "test/loss": -float(i)} for i in range(30)],
    ],
    ids=["none", "step only", "one", "nan", "accuracy only", "other task", "zero", "negative"],
)
def test_there_is_always_a_finding_and_never_an_error(records):
    assert diagnose(records, guessing=TEN_CLASSES)
    assert diagnose(records)


def test_two_points_are_too_few_for_a_verdict_on_the_fit():
    records = [{"step": i, "train/loss": 2.0, "train/accuracy": 0.2} for i in (1, 2)]
    assert verdicts([*records, {"step": 2, "test/accuracy": 0.2}]) == ["no verdict"]


def test_the_held_out_split_is_the_validation_split_where_there_is_one():
    records = [*healthy(), {"step": 100, "validation/accuracy": 0.94}]
    assert "validation_accuracy" in the_finding("good fit", records).figures


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("softmax", math.log(10)),
        ("sigmoid", 10 * math.log(2)),
        ("hinge", 9),
        ("squared_hinge", 9),
    ],
)
def test_the_loss_of_guessing_is_the_loss_of_equal_scores(loss, expected):
    assert guessing_figures(loss, 10)["loss"] == pytest.approx(expected)
    assert guessing_figures(loss, 10)["accuracy"] == pytest.approx(0.1)


def test_guessing_is_known_neither_for_an_unknown_loss_nor_for_one_class():
    assert guessing_figures("focal", 10) == {"accuracy": 0.1}
    assert guessing_figures("softmax", 1) == {}


@pytest.mark.parametrize(
    ("loss", "loaded", "verdict"),
    [
        (2.31, False, "initial loss as expected"),
        (9.2, False, "high initial loss"),
        (0.4, False, "low initial loss"),
        (0.4, True, "initial loss as expected"),
    ],
)
def test_initial_loss_is_judged_beside_that_of_guessing(loss, loaded, verdict):
    finding = initial_loss(loss, math.log(10), loaded_weights=loaded)
    assert finding.verdict == verdict
    assert f"{loss:.4g}" in finding.summary
    assert "2.303" in finding.summary
