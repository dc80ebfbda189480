"""The range test on a parabola, where every loss and the limit of stability are formulas."""

import json

import numpy as np
import pytest
from quadratic import BEST, CURVATURE, LIMIT, START, losses_after, parabola_experiment
from tiny_run import tiny_experiment

from cvjax.train.find_lr import MARGIN, Sweep, find_lr, has_diverged, read_sweep

STEPS = 84  # 12 a decade
RATIO = 10 ** (1 / 12)
RUN_FILES = {
    "config.json": "{}",
    "metrics.jsonl": '{"step": 1, "train/loss": 2.0}\n',
    "checkpoints/5/state": "weights",
    "report.html": "<p>",
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(workdir that held a run, records, summary, text); the rates go from 1e-5 to 100."""
    workdir = tmp_path_factory.mktemp("swept")
    for name, text in RUN_FILES.items():
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_text(text)
    text = find_lr(parabola_experiment(lr=0.1), workdir, STEPS)
    lines = [json.loads(line) for line in (workdir / "find_lr.jsonl").read_text().splitlines()]
    return workdir, lines[:-1], lines[-1], text


def test_every_step_has_the_rate_that_the_sweep_says(swept):
    _, records, summary, _ = swept
    rates = 1e-5 * RATIO ** (np.arange(len(records)) * 84 / 83)  # 84 rates, both ends included
    np.testing.assert_allclose([record["lr"] for record in records], rates, rtol=1e-6)
    assert summary["first_loss"] == CURVATURE / 2 * START**2
    losses = [record["loss"] for record in records]
    # float32: 1 - rate * curvature loses digits where it is near 0
    np.testing.assert_allclose(losses, losses_after(rates), rtol=1e-3)


def test_suggestion_is_a_known_part_of_the_best_rate(swept):
    _, _, summary, text = swept
    assert LIMIT / RATIO**1.5 < summary["lowest_loss_lr"] < LIMIT * RATIO**1.5
    assert summary["suggested_lr"] == pytest.approx(2 * BEST / MARGIN, rel=RATIO**1.5 - 1)
    assert f"optim.lr={summary['suggested_lr']:g}, a tenth of" in text


def test_sweep_stops_soon_after_the_loss_explodes(swept):
    _, records, summary, _ = swept
    assert summary["diverged"]
    assert len(records) < STEPS
    assert records[-1]["lr"] > LIMIT
    assert records[-2]["loss"] < summary["first_loss"] < records[-1]["loss"] * 10


def test_workdir_of_a_run_gains_two_files_and_loses_nothing(swept):
    workdir, *_ = swept
    found = {str(p.relative_to(workdir)): p for p in workdir.rglob("*") if p.is_file()}
    assert set(found) == {*RUN_FILES, "find_lr.jsonl", "find_lr.png"}
    assert {name: found[name].read_text() for name in RUN_FILES} == RUN_FILES
    assert found["find_lr.png"].read_bytes().startswith(b"\x89PNG")


def sweep_of(losses, *, first=2.3, stopped=False):
    rates = np.geomspace(1e-5, 1.0, len(losses))
    return Sweep(first, rates, np.asarray(losses, float), stopped)


def test_lowest_loss_is_found_without_lag_through_noise():
    """A valley at rate 0.01, symmetric in the rate's logarithm, noise of a tenth on top."""
    rng = np.random.default_rng(0)
    x = np.linspace(-5, 0, 200)
    verdict = read_sweep(
        sweep_of(2.3 * np.exp(-2 * np.exp(-((x + 2) ** 2)) + rng.normal(0, 0.1, 200)))
    )
    assert verdict.lowest_lr == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (2.3 + 0.05 * np.sin(np.arange(60)), "did not fall by a tenth"),
        ([np.nan], "no finite loss"),
    ],
)
def test_sweep_that_shows_nothing_suggests_nothing(losses, said):
    verdict = read_sweep(sweep_of(losses))
    assert verdict.lr is None
    assert said in verdict.text


def test_loss_that_falls_to_the_end_asks_for_another_sweep():
    verdict = read_sweep(sweep_of(np.linspace(2.3, 0.5, 60)))
    assert verdict.lr == 0.1
    assert "sweep again" in verdict.text


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.3, np.nan], True),
        ([2.3, np.inf], True),
        ([2.3, 1.0, 1e4], True),
        ([2.3, 1.0, 2.3, 2.3, 2.3], False),  # a dead network guesses, and that is no explosion
        ([2.3, 1e-6, 1e-3], False),  # a thousand times nothing
    ],
)
def test_divergence_is_far_above_the_lowest_loss_and_not_small(losses, expected):
    assert has_diverged(losses) is expected


@pytest.mark.parametrize(
    ("optim", "steps", "said"),
    [
        ({"lr": 0.0}, 5, "optim.lr is 0"),
        ({"lr": 0.1}, 0, "trial_steps"),
        ({"name": "lbfgs", "options": {}}, 5, "line search"),
    ],
)
def test_sweep_without_a_sense_is_refused(optim, steps, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        find_lr(tiny_experiment({"optim": optim}), tmp_path, steps)
