"""Test-time augmentation: each example is predicted several times, and the predictions averaged.

    evals.test_ten = dict(split="test", evaluator="multi_view", options=dict(views="ten_crop"))

Ten crops are Krizhevsky et al. 2012's (section 4.1), who average the probabilities.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvjax.evaluators.batches import Batch, Batches, Results
from cvjax.ops.crops import five_crop, ten_crop

VIEWS = ("flip", "five_crop", "ten_crop", "augment")


@dataclass(frozen=True)
class MultiView:
    """The task's own metrics, of predictions averaged over several views of each example.

    Attributes:
        task: has `averaged(outputs, of)`, which makes one prediction of several.
        transform: batch -> batch, the preprocessing.
        augment: (key, batch) -> batch, the augmentation of training with the preprocessing; None
            where there is none.
        views: "flip" is the image and its mirror image; "five_crop" the corners and the middle;
            "ten_crop" these and their mirror images; "augment" draws `count` of what training sees.
        crop: side of the crops as a share of the image's.
        enlarge: crops are resized (bilinear) to the size of the image, which every network
            takes; False leaves them small, for networks that take any size.
        average: what the task averages: "probability", or "logits" (the only ones of hinges).
        count, seed: of "augment". An example's views depend on its place in its batch.
    """

    task: Any
    transform: Callable[[Batch], Batch]
    augment: Callable[[Any, Batch], Batch] | None = None
    views: str = "ten_crop"
    crop: float = 0.875
    enlarge: bool = True
    average: str = "probability"
    count: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.views not in VIEWS:
            problems.append(f"views={self.views!r}; one of {VIEWS}.")
        if not hasattr(self.task, "averaged"):
            problems.append("this task does not say what the mean of its predictions is.")
        if not 0 < self.crop <= 1:
            problems.append(f"crop={self.crop}: it has to be above 0 and at most 1.")
        if self.count < 1:
            problems.append(f"count={self.count}: it has to be at least 1.")
        if self.views == "augment" and self.augment is None:
            problems.append("views='augment': training has no augmentation (data.augment).")
        if problems:
            raise ValueError("\n".join(f"multi_view: {problem}" for problem in problems))

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """As `Batches.run`."""
        return self._batches.run(variables, batches, num_examples=num_examples)

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """As `Batches.scalar_names`; raises ValueError if the task has no such average."""
        return self._batches.scalar_names(variables, batch)

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self._predict, self.task.metrics())

    def _predict(self, variables: Any, batch: Batch) -> dict[str, Array]:
        views = self._views(batch)
        # One after the other: all at once would need the memory of as many batches.
        outputs = jax.lax.map(
            lambda image: dict(self.task.predict(variables, {**batch, "image": image})), views
        )
        return self.task.averaged(outputs, self.average)

    def _views(self, batch: Batch) -> Float[Array, "v b h w c"]:
        """The images of all views, preprocessed."""
        if self.views == "augment":
            keys = jax.random.split(jax.random.key(self.seed), self.count)
            return jax.lax.map(lambda key: self.augment(key, dict(batch))["image"], keys)
        image = self.transform(batch)["image"]
        if self.views == "flip":
            return jnp.stack([image, image[..., ::-1, :]])
        size = tuple(max(1, round(self.crop * side)) for side in image.shape[1:3])
        windows = (five_crop if self.views == "five_crop" else ten_crop)(image, size)
        if not self.enlarge:
            return windows
        return jax.image.resize(windows, (len(windows), *image.shape), "bilinear")
