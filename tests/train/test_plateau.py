"""Plateau rules against a transcription of PyTorch's, and what they must survive."""

import json
import math
import random

import pytest

from cvjax.train.plateau import EarlyStopping, ReduceOnPlateau


def decisions(rule, values):
    """What the rule decides at each value, with its state through JSON in between."""
    state, out = rule.initial(), []
    for value in values:
        state, decision = rule.update(json.loads(json.dumps(state)), value)
        out.append((decision, state.get("scale")))
    return out


def torch_scales(values, mode, factor, patience, threshold, threshold_mode, cooldown):
    """ReduceLROnPlateau.step, word for word, on a learning rate of 1."""
    best = math.inf if mode == "min" else -math.inf
    num_bad, cooldown_counter, scale, scales = 0, 0, 1.0, []
    for a in values:
        if mode == "min" and threshold_mode == "rel":
            better = a < best * (1.0 - threshold)
        elif mode == "min":
            better = a < best - threshold
        elif threshold_mode == "rel":
            better = a > best * (threshold + 1.0)
        else:
            better = a > best + threshold
        if better:
            best, num_bad = a, 0
        else:
            num_bad += 1
        if cooldown_counter > 0:
            cooldown_counter -= 1
            num_bad = 0
        if num_bad > patience:
            scale *= factor
            cooldown_counter, num_bad = cooldown, 0
        scales.append(scale)
    return scales


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (1, 3)])
def test_scales_are_those_of_torch_on_noisy_curves(mode, threshold_mode, patience, cooldown):
    noise = random.Random(0)
    values = [math.exp(-t / 10) + 0.1 * noise.random() for t in range(60)]
    if mode == "max":
        values = [1 - v for v in values]
    options = dict(
        mode=mode,
        factor=0.5,
        patience=patience,
        threshold=0.05,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
    )
    ours = decisions(ReduceOnPlateau(**options), values)
    assert [scale for _, scale in ours] == torch_scales(values, **options)


def test_the_scale_is_lowered_only_after_more_than_patience_bad_evaluations():
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    lowered = [decision for decision, _ in decisions(ReduceOnPlateau(patience=2), values)]
    assert lowered == [False, False, False, True, False, False]


def test_the_scale_stops_at_its_minimum_and_then_nothing_is_lowered():
    rule = ReduceOnPlateau(patience=0, factor=0.1, min_scale=0.05)
    assert decisions(rule, [1.0, 1.0, 1.0, 1.0]) == [
        (False, 1.0),
        (True, 0.1),
        (True, 0.05),
        (False, 0.05),
    ]


@pytest.mark.parametrize("rule", [ReduceOnPlateau(patience=0), EarlyStopping(patience=0)])
def test_nan_counts_as_bad_and_never_becomes_the_best(rule):
    state, decision = rule.update(rule.initial(), math.nan)
    assert decision
    assert state["best"] is None


def test_training_stops_after_patience_is_over_and_not_while_it_improves():
    rule = EarlyStopping(metric="test/accuracy", mode="max", patience=1)
    values = [0.5, 0.6, 0.6, 0.7, 0.7, 0.6]
    assert [stop for stop, _ in decisions(rule, values)] == [False] * 5 + [True]


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(ValueError) as error:
        ReduceOnPlateau(mode="lowest", factor=10.0, patience=-1)
    for name in ("mode", "factor", "patience"):
        assert f"ReduceOnPlateau.{name}" in str(error.value)
