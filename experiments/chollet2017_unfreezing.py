"""When to unfreeze a trained base (Chollet et al. 2017, "Deep Learning with Python", section 5.3).

MobileNetV2 with ImageNet's weights learns ten classes of Tux Paint's stamps in as many steps

- by the recipe: a new head on the frozen base, then everything at a twentieth of the rate, which is
  the ladder's last rung;
- too early: everything from the first step on at the rate that a new head needs.

    python -m experiments --run chollet2017_unfreezing
"""

from experiments.chollet2017_ladder import FINETUNE, HEAD, STAMPS, recipe, training
from experiments.claim import Claim, gain, last, of_stage

BASE = "mobilenet_v2"
EARLY = f"{STAMPS}:model={BASE},size=96,variant=early,epochs=28"  # the recipe's 20 and 8

_accuracy = last("test/accuracy")
_frozen, _tuned = (of_stage(name, _accuracy) for name in (HEAD, FINETUNE))
_BOTH = tuple((recipe(BASE, "", seed), training(EARLY, "", seed)) for seed in range(2))

CLAIM = Claim(
    statement="A head that is not trained yet destroys an unfrozen base's features",
    source="Chollet et al. 2017, section 5.3, on Tux Paint's stamps",
    rows=(
        gain(
            "head, then everything, over everything at once",
            _BOTH,
            lambda staged, early: _tuned(staged) - _accuracy(early),
        ),
        gain(
            "the frozen base over everything at once",
            _BOTH,
            lambda staged, early: _frozen(staged) - _accuracy(early),
        ),
    ),
)
