"""Everything that a training step changes, in one tree: what a checkpoint holds."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@flax.struct.dataclass
class TrainState:
    """The state between two steps; a pure function of (config, step) on one machine.

    Attributes:
        step: completed steps, int32.
        params: all parameters, frozen ones included, float32.
        mutable: the other Flax collections, such as `batch_stats`.
        opt_state: optimizer memory of the trainable parameters.
        ema: {"params", "mutable"} moving averages, or None where they are off.
        window: sums of the training metrics since the last log step, and their `count`.
        bad_step: the first step whose loss or gradient was not finite, -1 while there is none.
        lr_scale: factor on the schedule, moved by the plateau rule.
    """

    step: Int[Array, ""]
    params: Any
    mutable: Any
    opt_state: Any
    ema: Any
    window: dict[str, Float[Array, ""]]
    bad_step: Int[Array, ""]
    lr_scale: Float[Array, ""]

    @property
    def variables(self) -> dict[str, Any]:
        """What `task.loss` and `task.predict` take."""
        return {"params": self.params, **self.mutable}

    @property
    def evaluation_variables(self) -> dict[str, Any]:
        """The moving averages where they are kept, else the variables themselves."""
        if self.ema is None:
            return self.variables
        return {"params": self.ema["params"], **self.ema["mutable"]}


def new_state(
    variables: dict[str, Any], opt_state: Any, metric_names: list[str], *, ema: bool
) -> TrainState:
    """State before the first step. The EMA starts as a copy: donated buffers must not alias."""
    params = variables["params"]
    mutable = {name: tree for name, tree in variables.items() if name != "params"}
    copies = jax.tree.map(jnp.copy, {"params": params, "mutable": mutable}) if ema else None
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        mutable=mutable,
        opt_state=opt_state,
        ema=copies,
        window={name: jnp.zeros((), jnp.float32) for name in [*metric_names, "count"]},
        bad_step=jnp.full((), -1, jnp.int32),
        lr_scale=jnp.ones((), jnp.float32),
    )
