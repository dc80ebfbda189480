"""How many layers to train with how much data (Chollet et al. 2017, "Deep Learning with Python",
section 5.3: the more parameters train, the more a small data set is overfitted).

MobileNetV2 with ImageNet's weights learns ten classes of Tux Paint's stamps from 64 pictures or
from 442, in as many steps: a new head alone, then the last blocks too, or everything. The test
pictures are the same. With 442 pictures, the head and everything are the ladder's runs.

    python -m experiments --run chollet2017_amounts
"""

from collections.abc import Callable

from experiments.chollet2017_ladder import (
    FINETUNE,
    HEAD,
    LARGEST_CLASS,
    STAMPS,
    recipe,
    training,
)
from experiments.claim import Claim, Row, Training, gain, last, of_stage

BASE = "mobilenet_v2"
SEEDS = range(3)
FEW, MANY = 64, 442
# As many steps of 32 pictures with both: 276 of the head, 110 of the second stage.
FEWER = f"{STAMPS}:model={BASE},size=96,hold_out=0.6,head_epochs=138,epochs=55"
TOP = f"{STAMPS}:model={BASE},size=96,head_epochs=20,epochs=8,tune=top"
RUNS: dict[tuple[int, str], Callable[[int], Training]] = {
    (FEW, "top"): lambda seed: training(f"{FEWER},tune=top", "", seed),
    (FEW, "all"): lambda seed: training(f"{FEWER},tune=all", "", seed),
    (MANY, "top"): lambda seed: training(TOP, "", seed),
    (MANY, "all"): lambda seed: recipe(BASE, "", seed),
}

_accuracy = last("test/accuracy")
_head, _tuned = (of_stage(name, _accuracy) for name in (HEAD, FINETUNE))


def _of(*which: tuple[int, str]) -> tuple[tuple[Training, ...], ...]:
    return tuple(tuple(RUNS[each](seed) for each in which) for seed in SEEDS)


def _levels(pictures: int) -> tuple[Row, ...]:
    note = "more than the largest class"
    return tuple(
        gain(name, _of((pictures, run)), measure, expected=LARGEST_CLASS, note=note)
        for name, run, measure in (
            (f"{pictures} pictures: the head alone", "all", _head),
            (f"{pictures} pictures: head, then the last blocks", "top", _tuned),
            (f"{pictures} pictures: head, then everything", "all", _tuned),
        )
    )


CLAIM = Claim(
    statement="Train few layers with little data and more with more; more data is worth most",
    source="Chollet et al. 2017, section 5.3; the course's rules of transfer, on the stamps",
    rows=(
        *_levels(FEW),
        *_levels(MANY),
        gain(
            f"{FEW} pictures: the last blocks over everything",
            _of((FEW, "top"), (FEW, "all")),
            lambda top, whole: _tuned(top) - _tuned(whole),
            note="little data: few layers",
        ),
        gain(
            f"{MANY} pictures: everything over the last blocks",
            _of((MANY, "top"), (MANY, "all")),
            lambda top, whole: _tuned(whole) - _tuned(top),
            note="more data: more layers",
        ),
        gain(
            f"what everything gains over the head alone, {MANY} pictures less {FEW}",
            _of((FEW, "all"), (MANY, "all")),
            lambda few, many: (_tuned(many) - _head(many)) - (_tuned(few) - _head(few)),
            note="more data: more layers",
        ),
        gain(
            f"{MANY} pictures over {FEW}, the head alone",
            _of((FEW, "all"), (MANY, "all")),
            lambda few, many: _head(many) - _head(few),
            expected=0.1,
            note="tens are not enough",
        ),
        gain(
            f"the head alone with {MANY} pictures over everything with {FEW}",
            _of((FEW, "all"), (MANY, "all")),
            lambda few, many: _head(many) - _tuned(few),
            note="data beats tuning",
        ),
    ),
)
