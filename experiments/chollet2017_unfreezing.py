"""When to unfreeze a trained base, and how many pictures fine-tuning needs (Chollet et al. 2017,
"Deep Learning with Python", section 5.3; the course's rules of transfer).

MobileNetV2 with ImageNet's weights learns ten classes of Tux Paint's stamps, from all training
pictures or from a seventh of them, always in as many steps and tested on the same pictures:

- the recipe: a new head on the frozen base, then everything at a twentieth of the rate;
- too early: everything from the first step on at the rate that a new head needs.

    python -m experiments --run chollet2017_unfreezing
"""

from collections.abc import Callable

from experiments.chollet2017_ladder import FINETUNE, HEAD, ONCE, STAMPS
from experiments.claim import Claim, Records, Row, Training, last, of_stage

SEEDS = range(3)
# name -> share of each class's cut-outs that is kept aside, and how often a picture comes by more
AMOUNTS = {"442 pictures": (0.0, 1), "64 pictures": (0.6, 7)}
ALL, FEW = AMOUNTS
HEAD_EPOCHS, EPOCHS = 20, 8


def _training(amount: str, seed: int, *, early: bool = False) -> Training:
    aside, times = AMOUNTS[amount]
    how = f"head_epochs={HEAD_EPOCHS * times},epochs={EPOCHS * times},tune=all"
    if early:
        how = f"variant=early,epochs={(HEAD_EPOCHS + EPOCHS) * times}"
    less = (f"--config.data.options.validation_fraction={aside}",) if aside else ()
    return Training(
        f"{STAMPS}:model=mobilenet_v2,size=96,{how}",
        (f"--config.data.options.seed={seed}", *ONCE, *less),
    )


def _accuracy(records: Records) -> float:
    return last("test/accuracy")(records)


_frozen, _tuned = (of_stage(name, _accuracy) for name in (HEAD, FINETUNE))


def _recipe(amount: str) -> tuple[Training, ...]:
    return tuple(_training(amount, seed) for seed in SEEDS)


def _early(amount: str) -> tuple[Training, ...]:
    return tuple(_training(amount, seed, early=True) for seed in SEEDS)


def _row(
    name: str,
    measure: Callable[..., float],
    *trainings: tuple[Training, ...],
    expected: float = 0.0,
    note: str = "",
) -> Row:
    return Row(
        name,
        expected,
        measure,
        repetitions=tuple(zip(*trainings)),
        relation="at least",
        unit="accuracy",
        note=note,
    )


def _rows_of(amount: str) -> tuple[Row, ...]:
    return (
        _row(
            f"{amount}: head, then everything, over everything at once",
            lambda recipe, early: _tuned(recipe) - _accuracy(early),
            _recipe(amount),
            _early(amount),
            note="large gradients of a random head destroy what the base knows",
        ),
        _row(
            f"{amount}: the frozen base over everything at once",
            lambda recipe, early: _frozen(recipe) - _accuracy(early),
            _recipe(amount),
            _early(amount),
        ),
        _row(
            f"{amount}: everything fine-tuned over the frozen base",
            lambda recipe: _tuned(recipe) - _frozen(recipe),
            _recipe(amount),
        ),
    )


CLAIM = Claim(
    statement="Train the head before the base is unfrozen; more data lets more layers train",
    source="Chollet et al. 2017, section 5.3; the course's rules of transfer",
    rows=(
        *_rows_of(ALL),
        *_rows_of(FEW),
        _row(
            "what everything fine-tuned gains over the frozen base, 442 pictures less 64",
            lambda many, few: (_tuned(many) - _frozen(many)) - (_tuned(few) - _frozen(few)),
            _recipe(ALL),
            _recipe(FEW),
            note="little data: few layers; more data: more layers",
        ),
        _row(
            "442 pictures over 64, best of frozen and fine-tuned",
            lambda many, few: max(_tuned(many), _frozen(many)) - max(_tuned(few), _frozen(few)),
            _recipe(ALL),
            _recipe(FEW),
            expected=0.1,
            note="tens of pictures are not enough",
        ),
    ),
)
