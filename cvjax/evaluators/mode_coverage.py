"""How many modes of a mixture a generator of points finds.

    evaluator = ModeCoverage(task=task, transform=transform, count=2500)
    results = evaluator.run(variables, batches)
    results.scalars["modes"], results.scalars["high_quality"]

Where the modes are, and how wide, is read off the split: the mean of each label's points, and the
root mean square of their distances to it along an axis.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import clu.metrics
import numpy as np

from cvjax.evaluators.batches import Batch, Batches, Results
from cvjax.evaluators.samples import Samples
from cvjax.metrics.generation import mode_figures

SCALARS = ("modes", "high_quality", "smallest_share")


@dataclass(frozen=True)
class ModeCoverage:
    """Draws points by a fixed key and looks for them in the modes.

    Scalars: `modes`, covered ones; `high_quality`, the share of points within `reach` standard
    deviations of a mode; `smallest_share`, the share of those in the mode that has fewest, times
    the number of modes (1 where all have as many). Array: `counts` of the modes. Picture: the
    split's points grey, the drawn ones coloured.

    Attributes:
        task: has `sample(variables, key, count)` -> {"image": [N, 1, 1, 2]}.
        transform: batch -> batch, the preprocessing.
        count: points drawn.
        reach: standard deviations around a mode that belong to it.
        least: points that make a mode covered.
        seed: of the key.
    """

    task: Any
    transform: Callable[[Batch], Batch]
    count: int = 2500
    reach: float = 3.0
    least: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name}={getattr(self, name)}: it has to be at least 1."
            for name in ("count", "least")
            if getattr(self, name) < 1
        ]
        if not self.reach > 0:
            problems.append(f"reach={self.reach}: it has to be greater than 0.")
        if problems:
            raise ValueError("\n".join(f"mode_coverage: {problem}" for problem in problems))

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """Raises ValueError if the examples are no labelled points."""
        rows = self._reader.run(variables, batches, num_examples=num_examples).predictions
        real, labels = _points(rows["point"]), rows["label"]
        centres = np.stack([real[labels == i].mean(axis=0) for i in np.unique(labels)])
        which = np.searchsorted(np.unique(labels), labels)
        std = float(np.sqrt(np.square(real - centres[which]).mean()))
        drawn = self._samples.run(variables, ()).pictures["image"]
        found = mode_figures(_points(drawn), centres, std, reach=self.reach, least=self.least)
        shares = found.counts / max(1, found.counts.sum())
        image = np.concatenate([rows["point"], drawn])
        shown = np.concatenate([np.full(len(real), -1), np.zeros(len(drawn), np.int64)])
        return Results(
            scalars={
                "modes": float(found.covered),
                "high_quality": found.high_quality,
                "smallest_share": float(shares.min() * len(shares)),
            },
            arrays={"counts": found.counts},
            num_examples=len(drawn),
            pictures={"image": image, "label": shown},
        )

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for; raises ValueError as it does."""
        self._samples.scalar_names(variables, batch)
        if "label" not in batch:
            raise ValueError("mode_coverage: batches need a `label`, the mode of each point.")
        _points(batch["image"])
        return SCALARS

    @cached_property
    def _samples(self) -> Samples:
        return Samples(self.task, self.transform, count=self.count, seed=self.seed)

    @cached_property
    def _reader(self) -> Batches:
        nothing = clu.metrics.Collection.create()
        return Batches(
            lambda _, batch: {"point": self.transform(batch)["image"]},
            nothing,
            keep=("point", "label"),
        )


def _points(image: Any) -> np.ndarray:
    """[N, 2] of images of one pixel with two channels."""
    if image.ndim != 4 or tuple(image.shape[1:]) != (1, 1, 2):
        raise ValueError(
            f"mode_coverage looks at points, images [N, 1, 1, 2]; got {tuple(image.shape)}. Use it "
            "on the source mixture."
        )
    return np.asarray(image).reshape(-1, 2)
