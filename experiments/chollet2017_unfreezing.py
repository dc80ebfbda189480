"""When to unfreeze a trained base (Chollet et al. 2017, "Deep Learning with Python", section 5.3).

MobileNetV2 with ImageNet's weights learns ten classes of Tux Paint's stamps in as many steps

- by the recipe: a new head on the frozen base, then everything at a twentieth of the rate, which is
  the ladder's last rung;
- too early: everything from the first step on at the rate that a new head needs.

    python -m experiments --run chollet2017_unfreezing
"""

from experiments.chollet2017_ladder import FINETUNE, HEAD, ONCE, STAMPS
from experiments.claim import Claim, Row, Training, last, of_stage

SEEDS = range(2)
HEAD_EPOCHS, EPOCHS = 20, 8
RECIPE = f"head_epochs={HEAD_EPOCHS},epochs={EPOCHS},tune=all"
EARLY = f"variant=early,epochs={HEAD_EPOCHS + EPOCHS}"

_accuracy = last("test/accuracy")
_frozen, _tuned = (of_stage(name, _accuracy) for name in (HEAD, FINETUNE))
_BOTH = tuple(
    tuple(
        Training(
            f"{STAMPS}:model=mobilenet_v2,size=96,{how}",
            (f"--config.data.options.seed={seed}", *ONCE),
        )
        for how in (RECIPE, EARLY)
    )
    for seed in SEEDS
)

CLAIM = Claim(
    statement="A head that is not trained yet destroys an unfrozen base's features",
    source="Chollet et al. 2017, section 5.3, on Tux Paint's stamps",
    rows=(
        Row(
            "head, then everything, over everything at once",
            0.0,
            lambda recipe, early: _tuned(recipe) - _accuracy(early),
            repetitions=_BOTH,
            relation="at least",
            unit="accuracy",
        ),
        Row(
            "the frozen base over everything at once",
            0.0,
            lambda recipe, early: _frozen(recipe) - _accuracy(early),
            repetitions=_BOTH,
            relation="at least",
            unit="accuracy",
        ),
    ),
)
