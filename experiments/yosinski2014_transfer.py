"""What transfers, how far down to train, and when (Yosinski et al. 2014, "How transferable are
features in deep neural networks?", https://arxiv.org/abs/1411.1792; the course's rules of thumb).

On Tux Paint's stamps and on scikit-learn's digits, with EfficientNet-Lite0 as ImageNet left it.
Five seeds of the split; every run is evaluated once, at its end.

    python -m experiments --run yosinski2014_transfer
"""

from collections.abc import Callable
from typing import Any

from experiments.chollet2017_ladder import FEATURES, FINETUNE, HEAD, ONCE, SEEDS, STAMPS
from experiments.claim import Claim, Row, Training, last, of_stage

LAYERS = ("stride2", "stride4", "stride8", "stride16", "pooled")
# Shares of each class's training cut-outs that a run does without.
QUARTER = 0.525  # of all, when 0.3 are the test split's
_accuracy = last("test/accuracy")
_head, _tuned = of_stage(HEAD, _accuracy), of_stage(FINETUNE, _accuracy)


def _training(config: str, seed: int, *overrides: str) -> Training:
    return Training(config, (f"--config.data.options.seed={seed}", *ONCE, *overrides))


def _recipe(seed: int, tune: str, *, few: bool = False) -> Training:
    fewer = (f"--config.data.options.validation_fraction={QUARTER}",) if few else ()
    # As many steps with a quarter of the pictures.
    epochs = "head_epochs=32,epochs=16" if few else "head_epochs=8,epochs=4"
    return _training(f"{STAMPS}:{epochs},tune={tune}", seed, *fewer)


def _early(seed: int, *overrides: str) -> Training:
    return _training(f"{STAMPS}:variant=early,epochs=12", seed, *overrides)


def _probe(data: str, layer: str, seed: int) -> Training:
    return _training(f"{FEATURES}:data={data},feature={layer}", seed)


def _row(
    name: str,
    measure: Callable[..., float],
    *groups: Callable[[int], Training],
    expected: float = 0.0,
    **options: Any,
) -> Row:
    repetitions = tuple(tuple(group(seed) for group in groups) for seed in SEEDS)
    return Row(
        name,
        expected,
        measure,
        repetitions=repetitions,
        relation="at least",
        unit="accuracy",
        **options,
    )


def _curve(data: str, guessing: float) -> tuple[Row, ...]:
    return tuple(
        _row(
            f"{data}, linear classifier on {layer}",
            _accuracy,
            lambda seed, layer=layer: _probe(data, layer, seed),
            expected=guessing,
            note="more than the largest class",
        )
        for layer in LAYERS
    )


def _all(seed: int) -> Training:
    return _recipe(seed, "all")


def _few_all(seed: int) -> Training:
    return _recipe(seed, "all", few=True)


def _few_top(seed: int) -> Training:
    return _recipe(seed, "top", few=True)


CLAIM = Claim(
    statement="Train the head first; the less data and the nearer the task, the fewer layers",
    source="Yosinski et al. 2014; Chollet et al. 2017, section 5.3",
    rows=(
        _row(
            "head first, then everything, over everything at once at the head's rate",
            lambda one, other: _tuned(one) - _accuracy(other),
            _all,
            _early,
            note="a new head's gradients destroy features",
        ),
        _row(
            "the same, everything at once at a tenth of the rate",
            lambda one, other: _tuned(one) - _accuracy(other),
            _all,
            lambda seed: _early(seed, "--config.optim.lr=1e-4"),
        ),
        _row(
            "442 pictures: training everything over the frozen base",
            lambda one: _tuned(one) - _head(one),
            _all,
        ),
        _row(
            "a quarter of the pictures: training the top over training everything",
            lambda top, everything: _tuned(top) - _tuned(everything),
            _few_top,
            _few_all,
            note="little data: few layers",
        ),
        _row(
            "what everything gains over the frozen base: 442 pictures over a quarter",
            lambda many, few: (_tuned(many) - _head(many)) - (_tuned(few) - _head(few)),
            _all,
            _few_all,
            note="more data: more layers",
        ),
        _row(
            "four times the data over a quarter, everything trained",
            lambda many, few: _tuned(many) - _tuned(few),
            _all,
            _few_all,
            expected=0.05,
            note="a few pictures a class are not enough: 5 points or more",
        ),
        *_curve("stamps", 0.21),
        *_curve("digits", 0.11),
        _row(
            "stamps: the last layer over the middle (stride 8)",
            lambda late, middle: _accuracy(late) - _accuracy(middle),
            lambda seed: _probe("stamps", "pooled", seed),
            lambda seed: _probe("stamps", "stride8", seed),
            note="data like ImageNet's: all layers",
        ),
        _row(
            "digits: the middle (stride 8) over the last layer",
            lambda late, middle: _accuracy(middle) - _accuracy(late),
            lambda seed: _probe("digits", "pooled", seed),
            lambda seed: _probe("digits", "stride8", seed),
            note="other data: the first layers alone",
        ),
    ),
)
