"""The importance-weighted bound on the log-likelihood of a whole split (Burda et al. 2016).

    evaluator = ImportanceBound(task=task, transform=transform, samples=64)
    results = evaluator.run(variables, batches)
    results.scalars["nll_iwae"]     # nats an image

Costs `samples` times what the ELBO costs, so a run asks for it rarely: an entry of `evals` of its
own, with a large `every`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cvjax.evaluators.batches import Batch, Batches, Results


@dataclass(frozen=True)
class ImportanceBound:
    """Means of the task's `importance_bound` over all valid examples.

    Attributes:
        task: has `importance_bound(variables, batch, samples=)` and `bound_metrics()`.
        transform: batch -> batch, the preprocessing.
        samples: latents an image.
    """

    task: Any
    transform: Callable[[Batch], Batch]
    samples: int = 64

    def __post_init__(self) -> None:
        if not hasattr(self.task, "importance_bound"):
            raise ValueError("importance_bound: this task has no latents to weigh.")
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}: at least one.")

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """The figures of all valid examples; ValueError as `Batches.run`."""
        return self._batches.run(variables, batches, num_examples=num_examples)

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for."""
        return self._batches.scalar_names(variables, batch)

    @cached_property
    def _batches(self) -> Batches:
        def predict(variables: Any, batch: Batch) -> dict[str, Any]:
            batch = self.transform(batch)
            return self.task.importance_bound(variables, batch, samples=self.samples)

        return Batches(predict, self.task.bound_metrics())
