"""Pictures that a generative task makes of nothing, or of a batch, by the same keys every time.

    evaluator = Samples(task=task, transform=transform, draw="sample", count=36)
    results = evaluator.run(variables, batches)
    results.pictures["image"]  # [36, H, W, C]

Two grids of one run differ by what was learnt in between and by nothing else. A task lists in
`draws` its methods `(variables, key, count) -> pictures`, and in `shows` its methods
`(variables, key, batch) -> pictures`, which get the first examples of the split, as evaluation
sees them. Pictures are a dict: `image` [N, H, W, C] in [0, 1], or [R, K, H, W, C] for a grid of R
rows, or [N, 1, 1, 2] for points of the plane; and `label` [N] where they have one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from cvjax.evaluators.batches import Batch, Results
from cvjax.ops.compiling import compiler_options


@dataclass(frozen=True)
class Samples:
    """Draws pictures; measures nothing.

    Attributes:
        task: has `draws` and may have `shows`, as above.
        transform: batch -> batch, the preprocessing.
        draw: name of one of the task's methods.
        count: pictures, at most; a grid that a task lays out itself may round it.
        seed: of the key.
    """

    task: Any
    transform: Callable[[Batch], Batch]
    draw: str = "sample"
    count: int = 36
    seed: int = 0

    def __post_init__(self) -> None:
        known = (*_names(self.task, "draws"), *_names(self.task, "shows"))
        if self.draw not in known:
            has = f"has {', '.join(known)}" if known else "draws nothing"
            raise ValueError(f"draw={self.draw!r}: this task {has}.")
        if self.count < 1:
            raise ValueError(f"count={self.count}: draw at least 1.")

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """The pictures, as `Results.pictures`; of `batches` no more than the first is read.

        Raises:
            ValueError: if the pictures' images have no shape of a picture.
        """
        del num_examples
        batch, rows = {}, np.arange(0)
        if self._shows:
            batch = dict(next(iter(batches)))
            rows = np.flatnonzero(_on_host(batch.get("valid", np.ones(len(batch["image"])))))
        found = jax.device_get(self._program(variables)(variables, batch, rows[: self.count]))
        _check(found)
        return Results({}, {}, len(found["image"]), pictures=found)

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """None; raises ValueError if what the task draws are no pictures."""
        batch = dict(batch) if self._shows else {}
        rows = np.arange(min(self.count, len(batch.get("image", ()))))
        _check(jax.eval_shape(self._pictures, variables, batch, rows))
        return ()

    @property
    def _shows(self) -> bool:
        return self.draw in _names(self.task, "shows")

    def _pictures(
        self, variables: Any, batch: Mapping[str, Any], rows: jax.Array
    ) -> dict[str, jax.Array]:
        key, method = jax.random.key(self.seed), getattr(self.task, self.draw)
        if not self._shows:
            return dict(method(variables, key, self.count))
        batch = {name: jnp.asarray(value)[rows] for name, value in batch.items()}
        return dict(method(variables, key, self.transform(batch)))

    def _program(self, variables: Any) -> Callable[..., dict[str, jax.Array]]:
        """Compiled once a mesh; each process gets all pictures."""
        shardings = [x.sharding for x in jax.tree.leaves(variables) if isinstance(x, jax.Array)]
        mesh = next((s.mesh for s in shardings if isinstance(s, NamedSharding)), None)
        if mesh not in self._programs:
            layout = {} if mesh is None else {"out_shardings": NamedSharding(mesh, PartitionSpec())}
            self._programs[mesh] = jax.jit(
                self._pictures, compiler_options=compiler_options(), **layout
            )
        return self._programs[mesh]

    @cached_property
    def _programs(self) -> dict[Any, Callable[..., dict[str, jax.Array]]]:
        return {}


def _on_host(valid: Any) -> np.ndarray:
    if isinstance(valid, jax.Array) and not valid.is_fully_addressable:
        valid = multihost_utils.process_allgather(valid, tiled=True)
    return np.asarray(valid)


def _names(task: Any, field: str) -> tuple[str, ...]:
    return tuple(getattr(task, field, ()))


def _check(pictures: Mapping[str, Any]) -> None:
    shape = np.shape(pictures["image"])
    points = shape[1:] == (1, 1, 2)
    if len(shape) not in (4, 5) or (shape[-1] not in (1, 3) and not points):
        raise ValueError(
            "a draw gives images [N,H,W,C] or [R,K,H,W,C] with C = 1 or 3, or points [N,1,1,2], "
            f"not {shape}."
        )
