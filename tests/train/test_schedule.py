"""Schedules against PyTorch's curves, warm-up, units, and errors that name what is wrong."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.train.schedule import SCHEDULES, make_schedule

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "optim.npz")

# Each PyTorch scheduler of the goldens (30 steps) as one of ours: name, lr, options.
AS_OURS = {
    "StepLR_00": ("step", 0.1, dict(every=7, factor=0.3)),
    "MultiStepLR_00": ("piecewise", 0.1, dict(milestones=(5, 12, 20), factor=0.1)),
    "ExponentialLR_00": ("exponential", 0.1, dict(factor=0.9)),
    "CosineAnnealingLR_00": ("cosine", 0.1, dict(duration=20, end_factor=0.01)),
    "CosineAnnealingWarmRestarts_00": (
        "cosine_restarts",
        0.1,
        dict(first=5, multiplier=2, end_factor=0.01),
    ),
    "OneCycleLR_00": ("one_cycle", 0.5, {}),
    "OneCycleLR_01": (
        "one_cycle",
        0.5,
        dict(anneal="linear", pct_start=0.2, three_phase=True),
    ),
    "PolynomialLR_00": ("polynomial", 0.1, dict(duration=25, power=0.9)),
    "LinearLR_00": ("linear", 0.1, dict(start_factor=0.1, end_factor=1.0, duration=10)),
    "ConstantLR_00": ("piecewise", 0.025, dict(milestones=(6,), factor=4.0)),
    "CyclicLR_00": ("cyclic", 0.1, dict(up=4, down=6, low_factor=0.1, decay="halve")),
}
# Needed options, for the tests over all schedules.
NEEDED = {
    "step": dict(every=10),
    "piecewise": dict(milestones=(10, 20)),
    "exponential": dict(factor=0.9),
    "cosine_restarts": dict(first=10),
    "cyclic": dict(up=5),
}


def curve(name, lr=1.0, total_steps=31, steps_per_epoch=1, unit="step", steps=None, **options):
    schedule = make_schedule(
        name,
        lr=lr,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        unit=unit,
        **options,
    )
    return np.asarray(schedule(jnp.arange(total_steps if steps is None else steps)))


def message(*args, **kwargs):
    with pytest.raises(ValueError) as error:
        curve(*args, **kwargs)
    return str(error.value)


def test_every_torch_curve_has_a_twin_here():
    ops = {c["id"] for c in json.loads(str(GOLDEN["cases"])) if "lr_scheduler" in c["op"]}
    assert ops == {f"lr_scheduler_{name}" for name in AS_OURS}


@pytest.mark.parametrize("twin", AS_OURS)
def test_curve_matches_torch(twin):
    name, lr, options = AS_OURS[twin]
    golden = GOLDEN[f"lr_scheduler_{twin}"]
    # torch's cosine turns up again after its period; ours holds.
    steps = 21 if name == "cosine" else 30
    # float32: a few rounding errors of the peak
    np.testing.assert_allclose(
        curve(name, lr, **options)[:steps], golden[:steps], rtol=0, atol=4e-7 * lr
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_scales_with_the_learning_rate(name):
    options = NEEDED.get(name, {})
    np.testing.assert_allclose(
        curve(name, 0.3, **options), 0.3 * curve(name, 1.0, **options), rtol=1e-6
    )


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"step", "exponential", "cyclic"}))
def test_every_schedule_that_ends_holds_its_last_value(name):
    after = curve(name, **NEEDED.get(name, {}), steps=60)[31:]
    assert np.isfinite(after).all()
    assert (after == after[0]).all()


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"one_cycle"}))
def test_warmup_rises_linearly_to_the_schedule(name):
    options = NEEDED.get(name, {})
    with_warmup = curve(name, total_steps=100, warmup=4, **options)
    start = curve(name, total_steps=100, **options)[0]
    np.testing.assert_allclose(with_warmup[:4], start * np.array([0.25, 0.5, 0.75, 1.0]), rtol=1e-6)


def test_cosine_after_warmup_takes_what_is_left_of_the_run():
    left = curve("cosine", total_steps=20, warmup=5)[5:]
    np.testing.assert_allclose(left, curve("cosine", total_steps=15), rtol=1e-6)


def test_milestones_count_from_the_start_of_the_run_with_warmup_in_it():
    # Goyal et al. 2017: epochs 5 of warm-up, then a tenth at 30, 60, 80.
    lr = curve("piecewise", 0.1, total_steps=90, warmup=5, milestones=(30, 60, 80))
    np.testing.assert_allclose(
        lr[[0, 4, 29, 30, 59, 60, 79, 80]],
        [0.02, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001],
        rtol=1e-6,
    )


def test_piecewise_takes_a_factor_for_each_milestone():
    # ResNet-110 on CIFAR-10 (He et al. 2016, section 4.2): 0.01 at first, then 0.1.
    lr = curve("piecewise", 0.01, total_steps=9, milestones=(2, 5, 7), factor=(10, 0.1, 0.1))
    np.testing.assert_allclose(lr, [0.01] * 2 + [0.1] * 3 + [0.01] * 2 + [0.001] * 2, rtol=1e-6)


def test_the_three_units_say_the_same_thing():
    common = dict(total_steps=40, steps_per_epoch=10)
    in_steps = curve("cosine", unit="step", warmup=10, duration=20, **common)
    in_epochs = curve("cosine", unit="epoch", warmup=1, duration=2, **common)
    in_fractions = curve("cosine", unit="fraction", warmup=0.25, duration=0.5, **common)
    np.testing.assert_array_equal(in_steps, in_epochs)
    np.testing.assert_array_equal(in_steps, in_fractions)


def test_equal_restarts_repeat_one_cosine():
    lr = curve("cosine_restarts", total_steps=30, warmup=2, first=7)
    np.testing.assert_allclose(lr[2:], np.tile(curve("cosine", total_steps=7), 4), atol=1e-6)


def test_plateau_is_constant_and_checks_its_rule():
    assert (curve("plateau", 0.1, patience=3, factor=0.5) == np.float32(0.1)).all()
    assert "patience" in message("plateau", patience=-1)
    assert "Did you mean 'patience'?" in message("plateau", patiance=3)


def test_a_run_of_one_step_has_a_learning_rate():
    for name in SCHEDULES:
        assert np.isfinite(curve(name, total_steps=1, **NEEDED.get(name, {}))).all()


def test_unknown_name_and_option_suggest_the_nearest():
    assert "Did you mean 'cosine'?" in message("cosin")
    assert "Did you mean 'milestones'?" in message("piecewise", milestone=(3,))
    assert "Did you mean 'epoch'?" in message("constant", unit="epochs")
    assert "has no option 'end_factor'" in message("constant", end_factor=0.1)


def test_all_that_is_wrong_is_said_at_once():
    said = message("exponential", factor="0.9", unit="days", warmup=-1, total_steps=0)
    for part in ("factor='0.9'", "unit:", "warmup:", "total_steps:"):
        assert part in said
    assert "needs the option 'factor'" in message("exponential")


def test_warmup_longer_than_the_run_is_an_error_with_both_lengths():
    said = message("cosine", unit="epoch", warmup=5, total_steps=40, steps_per_epoch=10)
    assert "5 epoch (50 steps) is longer than the run of 40 steps" in said


def test_one_cycle_refuses_a_second_warmup():
    assert "pct_start" in message("one_cycle", warmup=2)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(milestones=(20, 10)), "increasing"),
        (dict(milestones=(10, 10)), "increasing"),
        (dict(milestones=(0, 10)), "after the start"),
        (dict(milestones=(5, 10), factor=(0.1,)), "one for each of 2 milestones"),
    ],
)
def test_illegal_milestones_are_errors(options, part):
    assert part in message("piecewise", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("step", dict(every=0)),
        ("exponential", dict(factor=0.9, every=0.1)),
        ("cosine", dict(duration=0.001)),
        ("cosine_restarts", dict(first=-1)),
        ("cyclic", dict(up=5, down=0)),
    ],
)
def test_a_period_of_no_step_is_an_error_before_anything_runs(name, options):
    with pytest.raises(ValueError, match=f"{list(options)[-1]}: at least one step"):
        make_schedule(name, lr=1.0, total_steps=10, steps_per_epoch=1, unit="step", **options)
