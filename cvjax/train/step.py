"""The one training step: transform, loss, gradient, update, moving averages, sums for the log."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cvjax.train.optim import Optimizer
from cvjax.train.partition import freeze_interceptor
from cvjax.train.state import TrainState, new_state
from cvjax.train.updates import apply_updates

# One stream of random numbers per purpose; a task takes those that its model names.
RNG_STREAMS = ("dropout", "noise")
# What the step itself adds to the metrics of the task.
STEP_METRICS = ("grad_norm",)

Step = Callable[[TrainState, dict[str, Any]], tuple[TrainState, dict[str, Any]]]


def step_rngs(seed: int, step: Any) -> tuple[Any, dict[str, Any]]:
    """(key for the transform, {stream: key}) of one step: a pure function of (seed, step)."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    transform_key, *stream_keys = jax.random.split(key, 1 + len(RNG_STREAMS))
    return transform_key, dict(zip(RNG_STREAMS, stream_keys))


def init_state(
    task: Any,
    optimizer: Optimizer,
    example: dict[str, Any],
    *,
    seed: int,
    ema: bool,
    eval_transform: Callable,
) -> TrainState:
    """Fresh state, a pure function of the seed. `example` is a batch of any size from the host."""
    batch = eval_transform(jax.tree.map(jnp.asarray, dict(example)))
    variables = task.init(jax.random.key(seed), batch)
    _, rngs = step_rngs(seed, 0)
    _, info = jax.eval_shape(lambda v: task.loss(v, batch, rngs, ema=None), variables)
    names = [*info["metrics"], *STEP_METRICS]
    opt_state = optimizer.tx.init(optimizer.trainable(variables["params"]))
    return new_state(variables, opt_state, names, ema=ema)


def make_train_step(
    task: Any,
    optimizer: Optimizer,
    *,
    seed: int,
    train_transform: Callable,
    log_every: int,
    accumulate: int = 1,
    ema_decay: Callable[[Any], Any] | None = None,
) -> Step:
    """`(state, batch) -> (state, report)`, to be jitted with the state donated.

    `batch` is uint8 from the host; `report` holds the sums of `state.window` and `bad_step`, so
    that the log reads no donated buffer. Gradients are taken with respect to the trainable
    parameters alone: frozen ones cost no backward pass and no optimizer memory.

    Args:
        accumulate: number of micro-batches that a batch is cut into; gradients are averaged.
        ema_decay: step -> decay of the moving averages, or None for none.
    """
    if accumulate > 1 and optimizer.needs_value_fn:
        raise ValueError(
            "optim.accumulate > 1 does not go with a line search (lbfgs), which evaluates the "
            "whole batch again. Set optim.accumulate=1."
        )
    freeze = freeze_interceptor(optimizer.is_frozen)

    def loss_of(trainable, frozen_params, mutable, batch, rngs, ema):
        params = optimizer.merge(trainable, frozen_params)
        with nn.intercept_methods(freeze):
            loss, info = task.loss({"params": params, **mutable}, batch, rngs, ema=ema)
        return loss, (info["metrics"], {**mutable, **info["mutated"]})

    def train_step(state: TrainState, batch: dict[str, Any]):
        transform_key, rngs = step_rngs(seed, state.step)
        batch = train_transform(transform_key, batch)
        trainable = optimizer.trainable(state.params)

        def micro_gradient(mutable, micro_batch, micro_rngs):
            return jax.value_and_grad(loss_of, has_aux=True)(
                trainable, state.params, mutable, micro_batch, micro_rngs, state.ema
            )

        if accumulate == 1:
            (loss, (metrics, mutable)), grads = micro_gradient(state.mutable, batch, rngs)
        else:
            loss, metrics, mutable, grads = _accumulated(
                micro_gradient, state.mutable, batch, rngs, accumulate
            )

        extra = {"lr_scale": state.lr_scale}
        if optimizer.needs_value_fn:
            extra |= {
                "value": loss,
                "grad": grads,
                "value_fn": lambda t: loss_of(
                    t, state.params, state.mutable, batch, rngs, state.ema
                )[0],
            }
        updates, opt_state = optimizer.tx.update(grads, state.opt_state, trainable, **extra)
        params = optimizer.merge(apply_updates(trainable, updates, grads), state.params)

        grad_norm = optax.tree.norm(grads)
        metrics = {**metrics, "grad_norm": grad_norm}
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        bad_step = jnp.where((state.bad_step < 0) & ~finite, state.step, state.bad_step)
        window = _add_to_window(state, metrics, log_every)
        state = state.replace(
            step=state.step + 1,
            params=params,
            mutable=mutable,
            opt_state=opt_state,
            ema=_moved_average(state.ema, params, mutable, state.step, ema_decay),
            window=window,
            bad_step=bad_step,
        )
        return state, {**window, "bad_step": bad_step}

    return train_step


def _accumulated(micro_gradient, mutable, batch, rngs, accumulate):
    """Loss, metrics, statistics and gradient averaged over micro-batches, one after the other.

    Micro-batch j takes rows j, j + k, ...: each device cuts its own rows, so nothing moves.
    """
    cut = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), batch)

    def body(carry, inputs):
        index, micro_batch = inputs
        mutable, sums = carry
        micro_rngs = {name: jax.random.fold_in(key, index) for name, key in rngs.items()}
        (loss, (metrics, mutable)), grads = micro_gradient(mutable, micro_batch, micro_rngs)
        sums = jax.tree.map(jnp.add, sums, (loss, metrics, grads))
        return (mutable, sums), None

    first = jax.tree.map(lambda x: x[0], cut)
    shapes = jax.eval_shape(micro_gradient, mutable, first, rngs)
    (loss, (metrics, _)), grads = shapes
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, grads))
    (mutable, sums), _ = jax.lax.scan(body, (mutable, zeros), (jnp.arange(accumulate), cut))
    loss, metrics, grads = jax.tree.map(lambda x: x / accumulate, sums)
    return loss, metrics, mutable, grads


def _add_to_window(state: TrainState, metrics: dict[str, Any], log_every: int) -> dict[str, Any]:
    """Sums since the last log step; kept in the state so that a resumed run logs the same."""
    fresh = state.step % log_every == 0
    values = {**metrics, "count": jnp.ones(())}
    return {
        name: jnp.where(fresh, 0.0, state.window[name]) + jnp.asarray(value, jnp.float32)
        for name, value in values.items()
    }


def _moved_average(ema, params, mutable, step, ema_decay):
    if ema_decay is None:
        return ema
    decay = ema_decay(step)
    live = {"params": params, "mutable": mutable}
    return jax.tree.map(
        lambda old, new: (
            # What stands still stays bit for bit: -0.0 + 0.0 would be 0.0.
            jnp.where(new == old, old, old + (1 - decay) * (new - old))
            if jnp.issubdtype(new.dtype, jnp.floating)
            else new
        ),
        ema,
        live,
    )
