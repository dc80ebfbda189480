"""What a run would do and need, without training: `launch.py --mode dry_run`."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from cvjax.train.experiment import Experiment
from cvjax.train.setup import Setup, batch_shapes, prepare
from cvjax.train.sharding import describe_mesh

# A stand-in for the length of data that is missing; only the number of steps depends on it.
_ABSENT_BATCHES = 1000


def describe(experiment: Experiment) -> str:
    """The report as text: parameters, counts, FLOPs, memory, shapes, mesh, steps."""
    source = experiment.train_source
    missing = getattr(source, "reason", None)
    stand_in: dict[str, Any] = {}
    if missing is not None:
        stand_in["example"] = {
            "image": np.zeros((2, *source.info.image_shape), np.uint8),
            "label": np.zeros(2, np.int32),
        }
        stand_in["num_examples"] = experiment.batch_size * _ABSENT_BATCHES
    setup = prepare(experiment, **stand_in)
    sections = [
        _parameters(setup),
        _cost(setup, experiment, stand_in),
        _batches(setup, experiment),
        _steps(setup, experiment, missing),
    ]
    return "\n\n".join(sections)


def _parameters(setup: Setup) -> str:
    rows = [("parameter", "shape", "count", "lr", "decay", "")]
    for row in setup.optimizer.table():
        state = "frozen" if row.frozen else ""
        figures = ("", "") if row.frozen else (f"{row.lr:g}", f"{row.weight_decay:g}")
        rows.append((row.path, _shape(row.shape), f"{math.prod(row.shape):,}", *figures, state))
    table = setup.optimizer.table()
    total = sum(math.prod(row.shape) for row in table)
    trained = sum(math.prod(row.shape) for row in table if not row.frozen)
    mutable = jax.tree.leaves(setup.state_shapes.mutable)
    return _table(rows) + (
        f"\n\n{total:,} parameters, {trained:,} of them trained ({trained / total:.1%}), "
        f"{total - trained:,} frozen; "
        f"{sum(math.prod(leaf.shape) for leaf in mutable):,} statistics"
    )


def _cost(setup: Setup, experiment: Experiment, stand_in: Mapping[str, Any]) -> str:
    step, memory = _step_cost(setup, experiment)
    lines = []
    if step > 0:
        lines.append(
            f"training step      {_engineering(step)}FLOP, "
            f"{_engineering(step / experiment.batch_size)}FLOP per example (a multiply-add is 2)"
        )
    state = setup.state_shapes
    parts = {
        "parameters": state.params,
        "optimizer": state.opt_state,
        "moving averages": state.ema,
        "statistics": state.mutable,
    }
    for name, tree in parts.items():
        lines.append(f"{name:18} {_engineering(_bytes(tree))}B per device")
    if memory is not None:
        lines.append(
            f"peak estimate      {_engineering(_peak(memory))}B per device, of which "
            f"{_engineering(memory.temp_size_in_bytes)}B activations and gradients"
        )
    if any(row.frozen for row in setup.optimizer.table()):
        lines.append(_saved_by_freezing(setup, experiment, stand_in, step, memory))
    return "\n".join(lines)


def _saved_by_freezing(
    setup: Setup, experiment: Experiment, stand_in: Mapping[str, Any], step: float, memory: Any
) -> str:
    """What the same step would cost besides if every parameter trained, from compiling that one."""
    optim = dataclasses.replace(experiment.optim, groups=((".*", {}),))
    thawed = dataclasses.replace(experiment, optim=optim)
    whole = prepare(thawed, **stand_in)
    whole_step, whole_memory = _step_cost(whole, thawed)
    saved = []
    if step > 0 and whole_step > 0:
        saved.append(f"{1 - step / whole_step:.1%} of the step's FLOPs")
    optimizer = _bytes(whole.state_shapes.opt_state) - _bytes(setup.state_shapes.opt_state)
    saved.append(f"{_engineering(optimizer)}B of the optimizer")
    if memory is not None and whole_memory is not None:
        share = 1 - _peak(memory) / _peak(whole_memory)
        saved.append(f"{share:.1%} of the peak estimate")
    return f"freezing saves     {', '.join(saved)}"


def _step_cost(setup: Setup, experiment: Experiment) -> tuple[float, Any]:
    """FLOPs of a training step on all devices (0 if not known), and XLA's memory analysis."""
    shapes = batch_shapes(setup, experiment.batch_size)
    compiled = setup.train_step.lower(setup.state_shapes, shapes).compile()
    flops = (compiled.cost_analysis() or {}).get("flops", 0)
    return max(flops, 0) * setup.mesh.size, compiled.memory_analysis()


def _peak(memory: Any) -> int:
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def _bytes(tree: Any) -> int:
    return sum(_bytes_on_a_device(leaf) for leaf in jax.tree.leaves(tree))


def _batches(setup: Setup, experiment: Experiment) -> str:
    lines = [f"mesh   {describe_mesh(setup.mesh)}, state {experiment.train.sharding}"]
    per_device = experiment.batch_size // setup.mesh.shape["data"]
    for name, leaf in batch_shapes(setup, experiment.batch_size).items():
        lines.append(
            f"batch  {name} {leaf.dtype} {_shape(leaf.shape)}, {per_device} examples per device"
        )
    if experiment.optim.accumulate > 1:
        lines.append(f"       in {experiment.optim.accumulate} micro-batches one after the other")
    return "\n".join(lines)


def _steps(setup: Setup, experiment: Experiment, missing: str | None) -> str:
    if missing is not None:
        length = f"{experiment.train.steps:,}" if experiment.train.steps else "unknown"
        epochs = f", {experiment.train.epochs:g} epochs" if experiment.train.epochs else ""
        reason = "\n".join(f"  {line}" for line in missing.splitlines())
        return f"steps  {length}{epochs}; the data is missing:\n{reason}"
    epochs = setup.total_steps / setup.steps_per_epoch
    lines = [
        f"steps  {setup.total_steps:,} = {epochs:.4g} epochs of {setup.steps_per_epoch:.5g} steps "
        f"({len(experiment.train_source):,} examples of {experiment.train_source.info.name})"
    ]
    for name, evaluation in experiment.evals.items():
        every = f"{evaluation.every} steps" if evaluation.every else "epoch"
        lines.append(
            f"evals  {name}: {len(evaluation.source):,} examples of "
            f"{evaluation.source.info.name}, every {every}"
        )
    lr = setup.optimizer.lr_fn
    marks = np.unique(np.linspace(0, setup.total_steps - 1, 6).astype(int))
    lines.append("lr     " + "  ".join(f"step {m}: {float(lr(int(m))):.4g}" for m in marks))
    return "\n".join(lines)


def _bytes_on_a_device(leaf: Any) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _engineering(value: float) -> str:
    """1.23 G, with the unit to follow."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if 2 <= i <= 4 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
