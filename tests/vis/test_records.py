"""Records are read whatever they look like; names, directions and the moving average are right."""

import json
import math

import numpy as np
import pytest

from cvjax.vis import records as rec


def test_lines_that_are_no_objects_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "train/loss": 2.0}\n[1]\n\n{"step": 2, "train/lo')
    assert rec.read_records(path) == [{"step": 1, "train/loss": 2.0}]


def test_no_file_means_no_records(tmp_path):
    assert rec.read_records(tmp_path / "metrics.jsonl") == []


def test_series_are_sorted_and_the_later_record_of_a_step_wins():
    records = [{"step": 20, "a": 1.0}, {"step": 10, "a": 2}, {"step": 20, "a": 3.0}, {"step": 30}]
    steps, values = rec.series(records, "a")
    assert steps.tolist() == [10, 20]
    assert values.tolist() == [2, 3]


def test_what_strict_json_writes_for_nan_becomes_nan():
    records = [{"step": i, "a": value} for i, value in enumerate((None, "NaN", math.nan, 1.0))]
    values = rec.series(records, "a").values
    assert np.isnan(values).tolist() == [True, True, True, False]


def test_python_json_round_trips_nan_and_infinity(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1, "a": math.nan, "b": math.inf}) + "\n")
    (record,) = rec.read_records(path)
    assert math.isnan(record["a"])
    assert record["b"] == math.inf


def test_text_and_booleans_are_no_fields():
    assert rec.field_names([{"step": 1, "note": "warm-up", "done": True, "lr": 0.1}]) == ["lr"]


def test_results_leave_out_times_and_learning_rates():
    record = {
        "step": 1,
        "train/loss": 1.0,
        "train/images_per_second": 9.0,
        "lr/head": 0.1,
        "train/lr": 0.1,
        "elapsed_seconds": 3.0,
        "test_eval_seconds": 1.0,
        "test/box/loss": 2.0,
    }
    assert rec.result_names([record]) == ["train/loss", "test/box/loss"]
    assert rec.eval_splits([record]) == ["test"]


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("accuracy", True),
        ("mAP", True),
        ("psnr", True),
        ("loss", False),
        ("box/loss", False),
        ("calibration_error", False),
        ("fid", False),
        ("perplexity", False),
        ("l1", False),
        ("inception_score", True),
        ("fidelity", True),
        ("share_correct", True),
        ("share_background", False),
    ],
)
def test_the_better_direction_is_read_from_the_name(metric, higher):
    assert rec.is_higher_better(metric) is higher


def test_what_is_watched_and_not_optimised_has_no_best_value():
    for metric in ("grad_norm", "detections", "kernel_distance_std", "condition_l1", "fake_score"):
        assert not rec.has_best(metric)
    for metric in ("loss", "accuracy", "AP50", "share_background", "kernel_distance"):
        assert rec.has_best(metric)


def test_the_best_point_is_the_earliest_of_equals_and_never_nan():
    points = rec.Series(np.arange(4.0), np.asarray([math.nan, 0.5, 0.9, 0.9]))
    assert rec.best_point(points, higher_is_better=True) == (2, 0.9)
    assert rec.best_point(points, higher_is_better=False) == (1, 0.5)
    assert rec.best_point(rec.Series(np.zeros(0), np.zeros(0)), higher_is_better=True) is None


def test_smoothing_matches_the_explicit_weighted_mean():
    values = np.random.default_rng(0).normal(size=9)
    decay = 1 - 1 / 4
    slow = []
    for end in range(1, 10):
        weights = decay ** np.arange(end - 1, -1, -1.0)
        slow.append((weights * values[:end]).sum() / weights.sum())
    np.testing.assert_allclose(rec.smooth(values, window=4), slow, rtol=1e-12)


def test_smoothing_is_not_drawn_towards_zero_at_the_start():
    np.testing.assert_allclose(rec.smooth([5.0] * 6, window=50), 5.0, rtol=1e-12)


def test_smoothing_with_a_window_of_one_changes_nothing():
    assert rec.smooth([1.0, 4.0, 2.0], window=1).tolist() == [1, 4, 2]


def test_smoothing_passes_over_nan():
    smoothed = rec.smooth([1.0, math.nan, 1.0], window=3)
    assert np.isnan(smoothed).tolist() == [False, True, False]
    assert smoothed[2] == pytest.approx(1.0)


def test_a_window_below_one_is_refused():
    with pytest.raises(ValueError, match="window is 0"):
        rec.smooth([1.0], window=0)
