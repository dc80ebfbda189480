"""Evaluation of a whole split, batch by batch, with only sums kept on the device.

    evaluator = Batches(predict=predict, metrics=task.metrics())     # once a run: compiled once
    results = evaluator.run(variables, batches)
    results.scalars["accuracy"], results.arrays["confusion_matrix"]

`predict(variables, batch) -> outputs` is a pure function with the preprocessing inside. `metrics`
reads those outputs and every field of the batch but `image`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvjax.ops.compiling import compiler_options

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """What an evaluation found: numbers, arrays, the examples' count, predictions if asked for.

    `pictures` are to be looked at: `image` [N, H, W, C] or, row by row, [R, K, H, W, C], in [0, 1],
    or points of the plane [N, 1, 1, 2]; `label` [N] where they have one, or the fields of boxes
    that `cvjax.vis.boxes.draw_batch` draws; {} where there are none.
    """

    scalars: dict[str, float]
    arrays: dict[str, np.ndarray]
    num_examples: int
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Batches:
    """Runs `predict` over batches and adds up `metrics`.

    One compiled program per batch structure does both, so nothing but sums stays on the device and
    nothing is read back before the end. Batches may be NumPy dicts or arrays sharded over a mesh,
    also one that spans processes: then every process iterates over the same number of batches
    and gets the same, global results. Examples with `valid` False are padding and count nowhere.

    Attributes:
        keep: outputs or batch fields to return for every valid example, in order; each batch of
            them is read back at once, which costs speed and host memory.
    """

    predict: Callable[[Any, Batch], Mapping[str, jax.Array]]
    metrics: type[clu.metrics.Collection]
    keep: tuple[str, ...] = ()

    def run(
        self, variables: Any, batches: Iterable[Batch], *, num_examples: int | None = None
    ) -> Results:
        """The metrics of all valid examples.

        Raises:
            ValueError: if there is no example, or not `num_examples` of them where that is given.
        """
        sums = mesh = None
        kept: list[dict[str, np.ndarray]] = []
        for batch in batches:
            if sums is None:
                mesh = _mesh_of(batch)
                sums = self._zeros(variables, batch, mesh)
            sums, rows = self._update(variables, batch, sums, mesh)
            if self.keep:
                kept.append(_valid_rows(rows))
        counted = 0 if sums is None else int(sums["num_examples"])
        if counted == 0 or num_examples not in (None, counted):
            expected = "at least 1" if num_examples is None else num_examples
            raise ValueError(
                f"evaluation: counted {counted} examples, expected {expected}. "
                "Check the split and that padding, and only padding, is marked by valid=False."
            )
        values = jax.device_get(sums["metrics"]).compute()
        found = {name: np.asarray(value) for name, value in values.items()}
        return Results(
            scalars={name: float(value) for name, value in found.items() if value.ndim == 0},
            arrays={name: value for name, value in found.items() if value.ndim > 0},
            num_examples=counted,
            predictions={name: np.concatenate([rows[name] for rows in kept]) for name in self.keep},
        )

    def scalar_names(self, variables: Any, batch: Batch) -> tuple[str, ...]:
        """The names that `run` will find scalars for, from shapes alone."""
        shapes, _ = jax.eval_shape(self._measure, variables, batch)
        zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes["metrics"])
        return tuple(name for name, value in zeros.compute().items() if np.ndim(value) == 0)

    @cached_property
    def _update(self) -> Callable[..., Any]:
        return jax.jit(
            self._add,
            donate_argnums=2,
            static_argnums=3,
            compiler_options=compiler_options(),
        )

    def _add(
        self, variables: Any, batch: Batch, sums: Any, mesh: Mesh | None
    ) -> tuple[Any, dict[str, jax.Array]]:
        new, rows = self._measure(variables, batch)
        sums = {
            "metrics": sums["metrics"].merge(new["metrics"]),
            "num_examples": sums["num_examples"] + new["num_examples"],
        }
        if mesh is not None:
            sums = jax.lax.with_sharding_constraint(sums, _whole(mesh))
        return sums, rows

    def _measure(self, variables: Any, batch: Batch) -> tuple[Any, dict[str, jax.Array]]:
        outputs = dict(self.predict(variables, batch))
        fields = {name: value for name, value in batch.items() if name != "image"}
        valid = fields.setdefault("valid", jnp.ones(batch["image"].shape[0], bool))
        new = {
            "metrics": self.metrics.single_from_model_output(**fields, **outputs),
            "num_examples": valid.sum(dtype=jnp.int32),
        }
        if not self.keep:
            return new, {}
        known = {**batch, **fields, **outputs}
        for name in self.keep:
            if name not in known:
                raise ValueError(
                    f"keep: no output is called {name!r}. There are {', '.join(sorted(known))}."
                )
        return new, {name: known[name] for name in (*self.keep, "valid")}

    def _zeros(self, variables: Any, batch: Batch, mesh: Mesh | None) -> Any:
        """Sums of nothing, laid out as they will stay."""
        leaves, structure = jax.tree.flatten((variables, batch))
        inputs = (mesh, structure, tuple((np.shape(x), x.dtype) for x in leaves))
        if inputs not in self._zero_makers:  # tracing the model takes longer than a small split
            shapes, _ = jax.eval_shape(self._measure, variables, batch)
            make = partial(jax.tree.map, lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            layout = {} if mesh is None else {"out_shardings": _whole(mesh)}
            self._zero_makers[inputs] = jax.jit(make, **layout)
        return self._zero_makers[inputs]()

    @cached_property
    def _zero_makers(self) -> dict[Any, Callable[[], Any]]:
        return {}


def _mesh_of(batch: Batch) -> Mesh | None:
    shardings = [x.sharding for x in jax.tree.leaves(batch) if isinstance(x, jax.Array)]
    return next((s.mesh for s in shardings if isinstance(s, NamedSharding)), None)


def _whole(mesh: Mesh) -> NamedSharding:
    """The same sums on every device, so that each process can read them."""
    return NamedSharding(mesh, PartitionSpec())


def _valid_rows(rows: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    if not all(value.is_fully_addressable for value in rows.values()):
        rows = multihost_utils.process_allgather(dict(rows), tiled=True)
    host = jax.device_get(dict(rows))
    return {name: value[host["valid"]] for name, value in host.items()}
