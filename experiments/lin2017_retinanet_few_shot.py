"""A new class from 20 pictures: what a trained detector is worth (RetinaNet, Lin et al. 2017,
https://arxiv.org/abs/1708.02002, by the recipe of TensorFlow's Object Detection API for few
pictures: base, box head and class tower kept, the class output fresh, chosen variables trained).

The base knows the digits 0 to 7. The new one is 8 or 9, learnt from 20 pictures that each hold it,
among others that are not annotated; the test is 500 pictures of the nine digits as they come, in
which the new one alone is to be found. One row is of pictures that show nothing else. The ablations
train other variables, or from random weights, for as many steps on the same 20 pictures. Nothing is
chosen on the test split: every run is evaluated once, at its end.

    python -m experiments --run lin2017_retinanet_few_shot    # without --jobs: the base comes first
"""

from experiments.claim import Claim, Records, Row, Training, last, training_minutes
from experiments.runner import kept_folder

NAME = "lin2017_retinanet_few_shot"
CONFIG = "configs/detection/retinanet_few_shot.py"
NEW = ("8", "9")
WAYS = {
    "recipe": "class tower and class output trained",
    "head": "class output alone trained",
    "all": "everything trained",
    "scratch": "from scratch",
}
BASE = Training(f"{CONFIG}:variant=base")


def _run(way: str, new: str) -> Training:
    base = "" if way == "scratch" else f",base={kept_folder(NAME, BASE).as_posix()}"
    return Training(f"{CONFIG}:variant={way},new={new}{base}")


def _runs(*ways: str) -> tuple[tuple[Training, ...], ...]:
    """One repetition for each new class."""
    return tuple(tuple(_run(way, new) for way in ways) for new in NEW)


_ap50 = last("test/AP50")


def _gain(recipe: Records, other: Records) -> float:
    return _ap50(recipe) - _ap50(other)


def _over(way: str, expected: float, **more: object) -> Row:
    return Row(
        f"the recipe over: {WAYS[way]}",
        expected,
        _gain,
        repetitions=_runs("recipe", way),
        relation="at least",
        unit="AP50",
        **more,
    )


CLAIM = Claim(
    statement="A trained RetinaNet learns a new class from 20 pictures, in minutes",
    source="Lin et al. 2017; the course's recipe of few pictures, on composed scenes",
    rows=(
        Row(
            "the base on the eight digits that it knows",
            0.7,
            _ap50,
            repetitions=((BASE,),),
            relation="at least",
            unit="AP50",
        ),
        Row(
            "the new class by the recipe",
            0.75,
            _ap50,
            repetitions=_runs("recipe"),
            relation="at least",
            unit="AP50",
        ),
        Row(
            "the new class by the recipe, no other digits in the pictures",
            0.75,
            _ap50,
            repetitions=_runs("recipe,alone"),
            relation="at least",
            unit="AP50",
        ),
        Row(
            "minutes of its training, the base's not counted",
            5,
            training_minutes,
            repetitions=_runs("recipe"),
            relation="at most",
            unit="minutes",
        ),
        *(
            Row(
                f"the new class: {WAYS[way]}",
                0.0,
                _ap50,
                repetitions=_runs(way),
                relation="at least",
                unit="AP50",
                note="for comparison",
            )
            for way in ("head", "all", "scratch")
        ),
        _over("scratch", 0.2),
        _over("head", 0.0),
        _over("all", 0.0),
    ),
)
