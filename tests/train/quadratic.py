"""A task whose training is a formula: gradient descent on a parabola, whatever the batch."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from tiny_run import tiny_experiment

from cvjax.train.experiment import Experiment

CURVATURE, START = 4.0, 3.0
LIMIT = 2 / CURVATURE  # the rate from which on steps overshoot by more than they started with
BEST = 1 / CURVATURE  # the rate that is at the minimum after one step


class Parabola:
    """loss = CURVATURE / 2 * w^2, from w = START."""

    def init(self, rng: Any, batch: Any) -> dict[str, Any]:
        return {"params": {"w": jnp.float32(START)}}

    def loss(self, variables: Any, batch: Any, rngs: Any = None, *, ema: Any = None) -> Any:
        loss = CURVATURE / 2 * variables["params"]["w"] ** 2
        return loss, {"metrics": {"loss": loss}, "mutated": {}}


def parabola_experiment(lr: float) -> Experiment:
    """Plain gradient descent on the parabola."""
    optim = {"lr": lr, "options": {}, "weight_decay": 0.0, "accumulate": 1}
    changes = {"optim": optim, "data": {"augment": {}}, "ema": {"decay": None}, "evals": {}}
    return tiny_experiment({**changes, "train": {"early_stop": None}}, task=Parabola())


def losses_after(rates: np.ndarray) -> np.ndarray:
    """The loss after each step: every step multiplies w by 1 - rate * CURVATURE."""
    w = START * np.cumprod(1 - np.asarray(rates, np.float64) * CURVATURE)
    return CURVATURE / 2 * w**2
