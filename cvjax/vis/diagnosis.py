"""What learning curves say about a run: over- and underfitting, divergence, plateaus, and advice.

The rules are the usual ones of the craft: compare training with held-out figures, loss with
accuracy, the loss with that of guessing, the end of a curve with its middle. Each finding carries
the figures it was read from, so that a reader can disagree.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cvjax.vis import records as rec

# Held-out accuracy this far below training accuracy is a gap: five points are more than the noise
# of a few hundred examples (two standard errors of 90% on 500 are 2.7 points); where there are so
# few that two standard errors are more, those count. Ten points are big.
GAP = 0.05
BIG_GAP = 0.10
# Training accuracy below this part of the way from guessing to perfect: the model has not learnt
# its own training set, whatever its gap.
LOW_FIT = 0.7
# A loss that is not at least 2% below guessing says that nothing was learnt.
CHANCE_MARGIN = 0.02
# A first loss of more than twice guessing: the initial outputs are confident and wrong.
HIGH_START = 2.0
# A loss before any update that is 20% below guessing: fresh weights cannot know that much, and the
# luck of a batch of 32 is about a twentieth.
LOW_START = 0.8
# A held-out loss 10% above its minimum is rising, not trembling.
LOSS_RISE = 0.10
# Two evaluations of one model trained a little longer differ by about a standard error of the
# accuracy; where the number of examples is not known, that of 95% on 2,000 stands for it.
ACCURACY_NOISE = 0.005
# A smoothed training loss that ends at three times its minimum, and at a tenth of guessing or of
# its start at the least, has diverged; near zero a factor of three is nothing.
DIVERGENCE_FACTOR = 3.0
DIVERGENCE_FLOOR = 0.1
# A single raw point this many times above the average so far is a spike.
SPIKE_FACTOR = 5.0
# The last quarter of a run decides whether it is still improving: an error (or loss) that shrank
# by a tenth in it would have gone on shrinking.
TAIL = 0.25
STILL_IMPROVING = 0.10
# No new best in the second half of a run is a plateau.
PLATEAU = 0.5
# A training loss that lost less than 30% in the whole run, a third or more of it in the second
# half, creeps along a straight line: the steps are small.
CREEP_FALL = 0.30
CREEP_LATE = 1 / 3
# A raw loss whose relative deviation from its average in the first half (where the loss is still
# large) exceeds 0.6 means steps that throw the model about.
NOISE = 0.6
# A learning rate below 1% of its peak has been annealed.
ANNEALED = 0.01
# Fewer points than this on a curve support no verdict about its trend.
MIN_POINTS = 4

_HIGH_START_ADVICE = (
    "Scale the last layer's weights down (or start them at zero), and look at the input "
    "normalisation."
)

SEVERITIES = ("problem", "note", "good")
# Splits that may stand for "held out", best first; else the first split that was evaluated.
HELD_OUT = ("validation", "val", "valid", "test")


class Finding(NamedTuple):
    """One reading of the curves."""

    verdict: str  # a few words: "overfit", "still improving", ...
    severity: str  # one of SEVERITIES
    summary: str  # a sentence with the figures in it
    figures: dict[str, float]  # the numbers that the verdict was read from
    advice: str  # what to do about it; "" where nothing needs doing


class _Curves(NamedTuple):
    # What the rules look at; empty series where a run has none.
    train_loss: rec.Series
    train_accuracy: rec.Series
    split: str
    eval_loss: rec.Series
    eval_accuracy: rec.Series
    lr: rec.Series
    chance_loss: float | None
    chance_accuracy: float | None
    accuracy_noise: float  # one standard error of the held-out accuracy
    last_step: float


def guessing_figures(loss: str, num_classes: int, *, margin: float = 1.0) -> dict[str, float]:
    """The loss and accuracy that equal scores for all of `num_classes` balanced classes give.

    `loss` is the task's name for it; for one that is unknown here, only the accuracy is given.
    """
    if num_classes < 2:
        return {}
    losses = {
        "softmax": math.log(num_classes),  # every class has probability 1/C
        "sigmoid": num_classes * math.log(2),  # C fair coins, summed
        "hinge": (num_classes - 1) * margin,  # every wrong class violates the whole margin
        "squared_hinge": (num_classes - 1) * margin**2,
    }
    figures = {"accuracy": 1 / num_classes}
    return figures | ({"loss": losses[loss]} if loss in losses else {})


def initial_loss(loss: float, chance_loss: float, *, loaded_weights: bool = False) -> Finding:
    """What the loss of the first batch, before any update, says beside that of guessing.

    `loaded_weights` says that the network does not start from scratch, so it may know something.
    """
    figures = {"first_loss": loss, "chance_loss": chance_loss}
    said = f"{loss:.4g} before any update, where guessing costs {chance_loss:.4g}"
    if loss >= HIGH_START * chance_loss:
        summary = f"{said}: the outputs are confident and wrong."
        return Finding("high initial loss", "note", summary, figures, _HIGH_START_ADVICE)
    if loss > LOW_START * chance_loss:
        return Finding("initial loss as expected", "good", f"{said}: as expected.", figures, "")
    if loaded_weights:
        summary = f"{said}: the loaded weights already know the task."
        return Finding("initial loss as expected", "good", summary, figures, "")
    advice = (
        "Does the input contain the label, is one class in most of the examples, is the loss "
        "the one that you mean?"
    )
    summary = f"{said}: fresh weights cannot know that much."
    return Finding("low initial loss", "note", summary, figures, advice)


def diagnose(
    records: Sequence[Mapping[str, Any]],
    *,
    guessing: Mapping[str, float] = MappingProxyType({}),
    num_examples: Mapping[str, int] = MappingProxyType({}),
) -> list[Finding]:
    """Findings about the run that wrote `records`, problems first; never empty.

    `guessing` holds the "loss" and "accuracy" of guessing (`guessing_figures`); the rules that
    compare with them are silent where they are not known. `num_examples` says of each evaluated
    split how large it is, and so how much of a difference is noise.
    """
    curves = _read(records, guessing, num_examples)
    if not len(curves.train_loss.steps) and not len(curves.eval_loss.steps):
        if not rec.result_names(records):
            return [Finding("no curves", "note", "The run has logged no metrics yet.", {}, "")]
        summary = "There is neither a training nor a held-out loss to read."
        return [Finding("no verdict", "note", summary, {}, "")]
    findings = [finding for rule in _RULES for finding in rule(curves)]
    if not findings:
        count = len(curves.train_loss.steps)
        summary = f"{count} training points show nothing unusual, and too little for a verdict."
        findings = [Finding("no verdict", "note", summary, {"points": float(count)}, "")]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _read(
    records: Sequence[Mapping[str, Any]],
    guessing: Mapping[str, float],
    num_examples: Mapping[str, int],
) -> _Curves:
    splits = rec.eval_splits(records)
    split = next((name for name in HELD_OUT if name in splits), splits[0] if splits else "")
    steps = rec.series(records, "step").steps
    accuracy = rec.series(records, f"{split}/accuracy")
    noise = ACCURACY_NOISE
    if num_examples.get(split) and len(accuracy.finite().values):
        share = float(np.clip(np.max(accuracy.finite().values), 0, 1))
        noise = math.sqrt(share * (1 - share) / num_examples[split])
    return _Curves(
        train_loss=rec.series(records, f"{rec.TRAIN_SPLIT}/loss"),
        train_accuracy=rec.series(records, f"{rec.TRAIN_SPLIT}/accuracy"),
        split=split,
        eval_loss=rec.series(records, f"{split}/loss"),
        eval_accuracy=accuracy,
        lr=rec.series(records, "lr").finite(),
        chance_loss=guessing.get("loss"),
        chance_accuracy=guessing.get("accuracy"),
        accuracy_noise=noise,
        last_step=float(steps[-1]) if len(steps) else 0.0,
    )


def _not_finite(curves: _Curves) -> list[Finding]:
    for name, points in (
        (f"{rec.TRAIN_SPLIT}/loss", curves.train_loss),
        (f"{curves.split}/loss", curves.eval_loss),
    ):
        bad = points.steps[~np.isfinite(points.values)]
        if not len(bad):
            continue
        before = points.finite()
        before = before.values[before.steps < bad[0]]
        figures = {"first_bad_step": float(bad[0])}
        history = ""
        if len(before):
            figures["last_finite_loss"] = float(before[-1])
            history = f"; before that it was {before[-1]:.4g}"
        return [
            Finding(
                "not finite",
                "problem",
                f"{name} is NaN or infinite from step {bad[0]:.0f} on{history}.",
                figures,
                "Lower the learning rate 3 to 10 times, lengthen the warm-up, clip the gradient "
                "norm; then look for log(0), 0/0 and overflow in the batch that did it.",
            )
        ]
    return []


def _diverged(curves: _Curves) -> list[Finding]:
    points, smoothed = _smoothed(curves.train_loss)
    if len(smoothed) < MIN_POINTS:
        return []
    index = int(np.argmin(smoothed))
    low, end = float(smoothed[index]), float(smoothed[-1])
    scale = curves.chance_loss if curves.chance_loss is not None else abs(float(smoothed[0]))
    if low <= 0 or end < DIVERGENCE_FACTOR * low or end < DIVERGENCE_FLOOR * scale:
        return []
    return [
        Finding(
            "diverged",
            "problem",
            f"The smoothed training loss fell to {low:.4g} at step {points.steps[index]:.0f} and "
            f"ended at {end:.4g}, {end / low:.1f} times as high.",
            {"lowest_loss": low, "at_step": float(points.steps[index]), "final_loss": end},
            "Lower the peak learning rate 3 to 10 times, lengthen the warm-up, or clip the "
            "gradient norm; start again from the checkpoint before the rise.",
        )
    ]


def _spikes(curves: _Curves) -> list[Finding]:
    points, smoothed = _smoothed(curves.train_loss)
    if len(smoothed) < MIN_POINTS or not np.all(smoothed > 0):
        return []
    ratios = points.values[1:] / smoothed[:-1]
    scale = curves.chance_loss if curves.chance_loss is not None else float(smoothed[0])
    big = (ratios > SPIKE_FACTOR) & (points.values[1:] > DIVERGENCE_FLOOR * scale)
    if not big.any() or smoothed[-1] >= DIVERGENCE_FACTOR * smoothed.min():
        return []
    worst = int(np.argmax(np.where(big, ratios, 0)))
    step = float(points.steps[worst + 1])
    return [
        Finding(
            "loss spikes",
            "note",
            f"The training loss jumped {int(big.sum())} time(s), at worst {ratios[worst]:.1f}-fold "
            f"at step {step:.0f}, and recovered.",
            {"spikes": float(big.sum()), "worst_ratio": float(ratios[worst]), "at_step": step},
            "Clip the gradient norm or lower the peak learning rate a little.",
        )
    ]


def _start(curves: _Curves) -> list[Finding]:
    points = curves.train_loss.finite()
    if curves.chance_loss is None or not len(points.values):
        return []
    first, chance = float(points.values[0]), curves.chance_loss
    if first < HIGH_START * chance:
        return []
    return [
        Finding(
            "high initial loss",
            "note",
            f"The first logged training loss is {first:.4g}; guessing costs {chance:.4g}.",
            {"first_loss": first, "chance_loss": chance},
            f"Check the initial loss before any step. {_HIGH_START_ADVICE} Look at the first "
            "steps' size too.",
        )
    ]


def _no_learning(curves: _Curves) -> list[Finding]:
    _, smoothed = _smoothed(curves.train_loss)
    if curves.chance_loss is None or len(smoothed) < MIN_POINTS:
        return []
    end, chance = float(smoothed[-1]), curves.chance_loss
    if float(np.min(smoothed)) < chance * (1 - CHANCE_MARGIN):
        return []
    return [
        Finding(
            "not learning",
            "problem",
            f"After {curves.last_step:.0f} steps the training loss is {end:.4g}, not below the "
            f"{chance:.4g} of guessing.",
            {"final_loss": end, "chance_loss": chance},
            "Overfit a handful of examples first. If that fails: are labels and images still "
            "paired, does the gradient reach the first layer, is the learning rate off by a power "
            "of ten (try a range), are the inputs normalised?",
        )
    ]


def _fit(curves: _Curves) -> list[Finding]:
    held_out = curves.eval_accuracy.finite()
    _, smoothed = _smoothed(curves.train_accuracy)
    if len(smoothed) < MIN_POINTS or not len(held_out.values):
        return []
    train, test = float(smoothed[-1]), float(held_out.values[-1])
    gap = train - test
    figures = {"train_accuracy": train, f"{curves.split}_accuracy": test, "gap": gap}
    said = (
        f"Training accuracy ends at {train:.1%}, {curves.split} at {test:.1%}: "
        f"a gap of {100 * gap:+.1f} points."
    )
    if gap > max(GAP, 2 * curves.accuracy_noise):
        severity = "problem" if gap > BIG_GAP else "note"
        advice = (
            "More data or stronger augmentation first; then weight decay, dropout, a smaller "
            "model, or the checkpoint of the best evaluation (early stopping)."
        )
        return [Finding("overfit", severity, said, figures, advice)]
    chance = curves.chance_accuracy or 0.0
    fit = (train - chance) / (1 - chance)
    if fit < LOW_FIT:
        if _nothing_learnt(curves):
            return []
        figures["way_from_guessing_to_perfect"] = fit
        advice = (
            "A bigger model, more steps, a better learning rate, or less regularisation and "
            "augmentation: the training set itself is not learnt yet."
        )
        return [Finding("underfit", "problem", said, figures, advice)]
    advice = ""
    if gap < -GAP:
        advice = (
            "Training figures are the lower ones: augmentation, dropout or mixup make training "
            "harder than the test. There is room for a longer run or less regularisation."
        )
    return [Finding("good fit", "good", said, figures, advice)]


def _rising_loss(curves: _Curves) -> list[Finding]:
    loss = curves.eval_loss.finite()
    if len(loss.values) < MIN_POINTS:
        return []
    index = int(np.argmin(loss.values))
    low, end, at = float(loss.values[index]), float(loss.values[-1]), float(loss.steps[index])
    if low <= 0 or end < low * (1 + LOSS_RISE):
        return []
    figures = {"lowest_loss": low, "at_step": at, "final_loss": end}
    said = (
        f"The {curves.split} loss was lowest at step {at:.0f} ({low:.4g}) and ended at {end:.4g}, "
        f"{end / low - 1:+.0%}"
    )
    accuracy = curves.eval_accuracy.finite()
    then = accuracy.values[accuracy.steps <= at]
    if not len(then):
        advice = "Keep the checkpoint of the lowest loss; regularise more or train shorter."
        return [Finding("held-out loss rises", "problem", f"{said}.", figures, advice)]
    before, after = float(then[-1]), float(accuracy.values[-1])
    figures |= {"accuracy_then": before, "final_accuracy": after}
    said += f", while accuracy went from {before:.2%} to {after:.2%}."
    if after >= before - curves.accuracy_noise:
        advice = (
            "Not an error: the model grows surer of everything, so the few examples that it gets "
            "wrong cost more and more. Pick checkpoints by accuracy if accuracy is what counts; "
            "for honest probabilities use label smoothing, weight decay or temperature scaling."
        )
        verdict = "loss up, accuracy up" if after > before else "loss up, accuracy level"
        return [Finding(verdict, "note", said, figures, advice)]
    advice = "Keep the best checkpoint (early stopping); regularise more or train shorter."
    return [Finding("held-out loss rises", "problem", said, figures, advice)]


def _end_of_run(curves: _Curves) -> list[Finding]:
    name, error = _held_out_error(curves)
    if len(error.values) < MIN_POINTS:
        return []
    start = float(error.steps[0])
    span = float(error.steps[-1]) - start
    index = int(np.argmin(error.values))
    best, end, at = float(error.values[index]), float(error.values[-1]), float(error.steps[index])
    noise = curves.accuracy_noise if len(curves.eval_accuracy.finite().values) else 0.0

    before = error.values[error.steps <= float(error.steps[-1]) - TAIL * span]
    earlier = float(np.min(before))
    if earlier > 0 and end < earlier * (1 - STILL_IMPROVING) and earlier - end > noise:
        gain = 1 - end / earlier
        figures = {"best_before": earlier, "final": end, "last_quarter_gain": gain}
        advice = f"Train longer{_and_lr(curves)}."
        said = (
            f"The {name} fell from {earlier:.4g} to {end:.4g} in the last quarter of the run, "
            f"by {gain:.0%}."
        )
        return [Finding("still improving", "note", said, figures, advice)]
    if at <= start + PLATEAU * span:
        figures = {"best": best, "at_step": at, "final": end, "last_step": curves.last_step}
        said = (
            f"The {name} was best at step {at:.0f} ({best:.4g}); the "
            f"{curves.last_step - at:.0f} steps since gained nothing (now {end:.4g})."
        )
        advice = "Stop earlier, or "
        advice += (
            "change something else: the learning rate has been annealed already."
            if _annealed(curves)
            else "lower the learning rate when progress stops (a plateau or cosine schedule)."
        )
        return [Finding("plateau", "note", said, figures, advice)]
    if end - best > max(noise, best * STILL_IMPROVING):
        figures = {"best": best, "at_step": at, "final": end}
        said = f"The {name} was best at step {at:.0f} ({best:.4g}) and ended at {end:.4g}."
        advice = (
            "Use the best checkpoint; annealing the learning rate or averaging parameters (EMA) "
            "steadies the end of a run."
        )
        return [Finding("best is not last", "note", said, figures, advice)]
    return []


def _learning_rate(curves: _Curves) -> list[Finding]:
    points, smoothed = _smoothed(curves.train_loss)
    if len(smoothed) < 2 * MIN_POINTS or np.min(smoothed) <= 0 or _nothing_learnt(curves):
        return []
    findings = []
    half = len(smoothed) // 2
    first, middle, end = float(smoothed[0]), float(smoothed[half]), float(smoothed[-1])
    fall = (first - end) / first
    if 0 < fall < CREEP_FALL and (middle - end) > CREEP_LATE * (first - end):
        said = (
            f"The training loss fell by only {fall:.0%} (from {first:.4g} to {end:.4g}) and still "
            f"falls evenly: {(middle - end) / (first - end):.0%} of that came in the second half."
        )
        figures = {"first_loss": first, "middle_loss": middle, "final_loss": end}
        if len(curves.lr.values):
            figures["peak_lr"] = float(curves.lr.values.max())
        advice = "Raise the learning rate 3 to 10 times (or the number of steps)."
        findings.append(Finding("learning rate low", "note", said, figures, advice))
    noise = float(np.std(points.values[:half] / smoothed[:half] - 1))
    if noise > NOISE:
        said = (
            f"In the first half of the run the raw training loss deviates from its average by "
            f"{noise:.0%} (one standard deviation)."
        )
        advice = "Try a lower learning rate, a longer warm-up or a larger batch."
        findings.append(Finding("noisy", "note", said, {"relative_noise": noise}, advice))
    return findings


_RULES = (
    _not_finite,
    _diverged,
    _spikes,
    _start,
    _no_learning,
    _fit,
    _rising_loss,
    _end_of_run,
    _learning_rate,
)


def _smoothed(points: rec.Series) -> tuple[rec.Series, np.ndarray]:
    # A tenth of the curve: a verdict wants a steadier average than a picture does.
    points = points.finite()
    return points, rec.smooth(points.values, window=max(1.0, len(points.values) / 10))


def _nothing_learnt(curves: _Curves) -> bool:
    return bool(_no_learning(curves))


def _held_out_error(curves: _Curves) -> tuple[str, rec.Series]:
    # What should fall on the held-out split: 1 - accuracy where there is one, else the loss.
    accuracy = curves.eval_accuracy.finite()
    if len(accuracy.values):
        return f"{curves.split} error", rec.Series(accuracy.steps, 1 - accuracy.values)
    return f"{curves.split} loss", curves.eval_loss.finite()


def _annealed(curves: _Curves) -> bool:
    values = curves.lr.values
    return bool(len(values)) and values[-1] < ANNEALED * values.max()


def _and_lr(curves: _Curves) -> str:
    if not len(curves.lr.values):
        return ""
    if _annealed(curves):
        return (
            ", with the schedule stretched to the new length: the learning rate has reached zero, "
            "so more steps alone add nothing"
        )
    return f"; the learning rate was still {curves.lr.values[-1]:.3g} at the end"
