"""From an experiment to what runs: mesh, optimizer, shapes and the jitted functions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cvjax.data.pipeline import Reading, train_batch
from cvjax.data.views import View
from cvjax.ops.compiling import compiler_options
from cvjax.train.experiment import EmaOptions, Experiment
from cvjax.train.optim import Optimizer, make_optimizer
from cvjax.train.sharding import (
    batch_sharding,
    check_batch_size,
    local_rows,
    make_mesh,
    replicated,
    state_shardings,
)
from cvjax.train.state import TrainState
from cvjax.train.step import init_state, make_train_step


@dataclass(frozen=True)
class Setup:
    """What run, evaluation and dry run share.

    Attributes:
        example: uint8 zeros, a small batch as the pipeline delivers it.
        state_shapes: TrainState of ShapeDtypeStructs with their shardings.
        init: () -> fresh TrainState, laid out on the mesh.
        train_step: jitted (state, batch) -> (state, report); donates the state.
    """

    mesh: Mesh
    rows: np.ndarray
    total_steps: int
    steps_per_epoch: float
    example: dict[str, np.ndarray]
    optimizer: Optimizer
    state_shapes: TrainState
    init: Callable[[], TrainState]
    train_step: Any


def prepare(
    experiment: Experiment,
    *,
    example: dict[str, np.ndarray] | None = None,
    num_examples: int | None = None,
    devices: list[jax.Device] | None = None,
) -> Setup:
    """Traces shapes and makes the functions; computes nothing and allocates nothing big.

    `example` and `num_examples` stand in for the training source where it is missing.
    """
    train = experiment.train
    mesh = make_mesh(model_parallel=train.model_parallel, devices=devices)
    accumulate = experiment.optim.accumulate
    check_batch_size(experiment.batch_size, mesh, accumulate=accumulate)
    if num_examples is None:
        num_examples = len(experiment.train_source)
    steps_per_epoch = num_examples / experiment.batch_size
    total = train.steps or max(1, round(train.epochs * steps_per_epoch))
    if example is None:
        example = first_example(experiment)

    shapes = jax.eval_shape(
        lambda batch: experiment.task.init(jax.random.key(0), experiment.eval_transform(batch)),
        dict(example),
    )
    optimizer = make_optimizer(
        experiment.optim,
        shapes["params"],
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
    )
    make_state = partial(
        init_state,
        experiment.task,
        optimizer,
        example,
        seed=experiment.seed,
        ema=experiment.ema.decay is not None,
        eval_transform=experiment.eval_transform,
    )
    state_shapes = jax.eval_shape(make_state)
    shardings = state_shardings(state_shapes, mesh, kind=train.sharding)
    state_shapes = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state_shapes,
        shardings,
    )
    step = make_train_step(
        experiment.task,
        optimizer,
        seed=experiment.seed,
        train_transform=experiment.train_transform,
        log_every=train.log_every,
        accumulate=accumulate,
        ema_decay=ema_schedule(experiment.ema),
    )
    return Setup(
        mesh=mesh,
        rows=local_rows(mesh, experiment.batch_size),
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        example=example,
        optimizer=optimizer,
        state_shapes=state_shapes,
        init=jax.jit(make_state, out_shardings=shardings),
        train_step=jax.jit(
            step,
            in_shardings=(shardings, batch_sharding(mesh)),
            out_shardings=(shardings, replicated(mesh)),
            donate_argnums=0,
            compiler_options=compiler_options(),
        ),
    )


def first_example(experiment: Experiment) -> dict[str, np.ndarray]:
    """Zeros shaped as a batch of two, from reading one example as training does.

    Two, because BatchNorm refuses a batch of one whose map has shrunk to a pixel. A source with
    `blank` knows its batches without reading.
    """
    count = min(2, experiment.batch_size)
    if hasattr(experiment.train_source, "blank"):
        return experiment.train_source.blank(count)
    reading = Reading(
        batch_size=1,
        rows=np.zeros(1, np.int64),
        view=experiment.train_view,
        on_bad_example=experiment.on_bad_example,
    )
    batch = train_batch(experiment.train_source, reading, 0, seed=experiment.seed)
    return {name: np.zeros((count, *x.shape[1:]), x.dtype) for name, x in batch.items()}


def whole_reading(experiment: Experiment, rows: np.ndarray, view: View | None) -> Reading:
    """How a pass over many batches reads, by workers and threads; `rows` are this process's."""
    return Reading(
        batch_size=experiment.batch_size,
        rows=rows,
        view=view,
        workers=experiment.workers,
        threads=experiment.threads,
        on_bad_example=experiment.on_bad_example,
    )


def batch_of_step(experiment: Experiment, rows: np.ndarray, step: int) -> dict[str, np.ndarray]:
    """`rows` of the training batch of one step, as the pipeline reads them, read at once."""
    reading = Reading(
        batch_size=experiment.batch_size,
        rows=rows,
        view=experiment.train_view,
        on_bad_example=experiment.on_bad_example,
    )
    return train_batch(experiment.train_source, reading, step, seed=experiment.seed)


def batch_shapes(setup: Setup, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The global training batch as ShapeDtypeStructs with their sharding."""
    sharding = batch_sharding(setup.mesh)
    return {
        name: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), x.dtype, sharding=sharding)
        for name, x in setup.example.items()
    }


def ema_schedule(ema: EmaOptions) -> Callable[[Any], Any] | None:
    """step -> decay of the moving averages, or None where there are none."""
    if ema.decay is None:
        return None
    if not ema.warmup:
        return lambda step: jnp.asarray(ema.decay, jnp.float32)
    return lambda step: jnp.minimum(ema.decay, (1.0 + step) / (10.0 + step))
