"""Five ways to learn from little data, each better than the one before (Chollet et al. 2017, "Deep
Learning with Python", chapter 5): from scratch 71%, with augmentation 82%, on cached features of a
trained base 90%, with the base frozen in the network and augmentation 96%, fine-tuned 97%.

The book has 2,000 photographs of cats and dogs; here it is ten classes of Tux Paint's stamps, 442
pictures of 96 pixels to learn from, so that the order and the gains can be compared, not the
levels. Nothing is chosen on the test split: every run is evaluated once, at its end.

    python -m experiments --run chollet2017_ladder
    python -m experiments --run chollet2017_ladder --data.path FOLDER     # your own class folders
    python -m experiments.chollet2017_ladder                              # draws the figure
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.claim import ROOT, Claim, Row, Training, gain, last, of_stage
from experiments.runner import read_result

NAME = "chollet2017_ladder"
FIGURE = ROOT / "docs" / "figures" / f"{NAME}.png"
BASES = {
    "squeezenet1_1": "SqueezeNet 1.1",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "mobilenet_v2": "MobileNetV2",
}
SEEDS = range(5)
RUNGS = (
    "from scratch",
    "from scratch, augmented",
    "cached features",
    "frozen base, augmented",
    "fine-tuned",
)
BOOK = dict(zip(RUNGS, (0.71, 0.82, 0.90, 0.96, 0.97)))
STAMPS, FEATURES = "configs/transfer/stamps.py", "configs/transfer/features.py"
ONCE = ("--config.evals.test.every=1000000", "--config.train.checkpoint_every=1000000")
HEAD, FINETUNE = "stage1_head", "stage2_finetune"
LARGEST_CLASS = 0.21  # share of the stamps


def on_folder(path: str = "") -> Claim:
    """The claim on the class folders at `path`, "" for the stamps."""
    return Claim(
        statement="A trained base beats training from scratch, and fine-tuning is the last rung",
        source="Chollet et al. 2017, chapter 5, on Tux Paint's stamps",
        rows=(*_scratch_rows(path), *(row for base in BASES for row in _rows_of(base, path))),
    )


def _scratch(path: str, seed: int, *, plain: bool) -> Training:
    config = f"{STAMPS}:variant=scratch,model=small_cnn,size=96,epochs=12{',plain' * plain}"
    return training(config, path, seed)


def _features(base: str, path: str, seed: int, *, random: bool = False) -> Training:
    return training(f"{FEATURES}:model={base},size=96,epochs=8{',random' * random}", path, seed)


def recipe(base: str, path: str, seed: int) -> Training:
    """The head on the frozen base for 20 epochs, then everything for 8."""
    config = f"{STAMPS}:model={base},size=96,head_epochs=20,epochs=8,tune=all"
    return training(config, path, seed)


def training(config: str, path: str, seed: int) -> Training:
    """A run on the split of that seed, evaluated at its end alone."""
    # The split and the pictures differ from seed to seed; the programs are the same and are
    # compiled once.
    where = f",path={path}" if path else ""
    return Training(config + where, (f"--config.data.options.seed={seed}", *ONCE))


def _scratch_rows(path: str) -> tuple[Row, ...]:
    plain = tuple((_scratch(path, seed, plain=True),) for seed in SEEDS)
    augmented = tuple((_scratch(path, seed, plain=False),) for seed in SEEDS)
    both = tuple(one + other for one, other in zip(plain, augmented))
    return (
        _level(RUNGS[0], RUNGS[0], plain, _accuracy),
        _level(RUNGS[1], RUNGS[1], augmented, _accuracy),
        gain(
            "augmentation from scratch gains",
            both,
            lambda a, b: _accuracy(b) - _accuracy(a),
            note="the book's is 11; after 12 epochs the network has not fitted augmented pictures",
        ),
    )


def _rows_of(base: str, path: str) -> tuple[Row, ...]:
    label = BASES[base]
    scratch = [_scratch(path, seed, plain=False) for seed in SEEDS]
    features = [_features(base, path, seed) for seed in SEEDS]
    recipes = [recipe(base, path, seed) for seed in SEEDS]
    head, tuned = (of_stage(name, _accuracy) for name in (HEAD, FINETUNE))
    return (
        _level(f"{label}, {RUNGS[2]}", RUNGS[2], _alone(features), _accuracy),
        _level(f"{label}, {RUNGS[3]}", RUNGS[3], _alone(recipes), head),
        _level(f"{label}, {RUNGS[4]}", RUNGS[4], _alone(recipes), tuned),
        gain(
            f"{label}: cached features over scratch, augmented",
            tuple(zip(scratch, features)),
            lambda a, b: _accuracy(b) - _accuracy(a),
            expected=0.2,
            note="far above: 20 points or more; the book's is 8",
        ),
        gain(
            f"{label}: augmentation over cached features",
            tuple(zip(features, recipes)),
            lambda a, b: head(b) - _accuracy(a),
            holds=False,
            note="the book's is 6; flips and colours alone, as more blurs 96 pixels",
        ),
        gain(
            f"{label}: fine-tuning over the frozen base",
            _alone(recipes),
            lambda a: tuned(a) - head(a),
            note="the book's is 1",
        ),
        gain(
            f"{label}: fine-tuning over cached features",
            tuple(zip(features, recipes)),
            lambda a, b: tuned(b) - _accuracy(a),
            note="the book's is 7",
        ),
    )


_accuracy = last("test/accuracy")


def _alone(trainings: list[Training]) -> tuple[tuple[Training, ...], ...]:
    return tuple((training,) for training in trainings)


def _level(name: str, rung: str, repetitions: Any, measure: Any) -> Row:
    note = f"more than the largest class; the book's is {BOOK[rung]:.0%} of two classes"
    return gain(name, repetitions, measure, expected=LARGEST_CLASS, note=note)


def points(result: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """{line: {rung: a value a seed}} of the levels of a result, as far as they ran."""
    rows = {row["name"]: [float(v) for v in row.get("values", ())] for row in result["rows"]}
    lines = {"small CNN": {rung: rows[rung] for rung in RUNGS[:2]}}
    lines |= {
        label: {rung: rows[f"{label}, {rung}"] for rung in RUNGS[2:]} for label in BASES.values()
    }
    ran = {
        label: {rung: values for rung, values in rungs.items() if values}
        for label, rungs in lines.items()
    }
    return {label: rungs for label, rungs in ran.items() if rungs}


def draw(result: Mapping[str, Any], path: Path) -> Path:
    """Writes the ladder as a picture: means, seeds as dots, and the book's figures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), dpi=80, layout="constrained")
    places = {rung: i for i, rung in enumerate(RUNGS)}
    axes.plot(
        list(places.values()),
        [100 * BOOK[rung] for rung in RUNGS],
        "--",
        color="0.6",
        label="the book (cats and dogs, 2 classes)",
    )
    for label, rungs in points(result).items():
        means = [100 * sum(values) / len(values) for values in rungs.values()]
        (line,) = axes.plot([places[rung] for rung in rungs], means, "o-", label=label)
        for rung, values in rungs.items():
            dots = [100 * value for value in values]
            axes.plot([places[rung]] * len(dots), dots, ".", color=line.get_color(), alpha=0.4)
    axes.set_xticks(list(places.values()), [rung.replace(", ", ",\n") for rung in RUNGS])
    axes.set_ylabel("test accuracy, %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
    return path


CLAIM = on_folder()

if __name__ == "__main__":
    found = read_result(NAME)
    if found is None:
        raise SystemExit(f"There is no result: python -m experiments --run {NAME}")
    print(f"wrote {draw(found, FIGURE).relative_to(ROOT)}")
