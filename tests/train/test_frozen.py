"""Frozen leaves under every optimizer: not one bit moves, whatever decays, averages or counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import CLASSES, TinyNet

from cvjax.tasks.classification import Classification
from cvjax.train.optim import OPTIMIZERS, OptimOptions, make_optimizer
from cvjax.train.state import TrainState
from cvjax.train.step import init_state, make_train_step

OPTIONS: dict[str, dict[str, Any]] = {"momentum": {"momentum": 0.9}, "lbfgs": {"max_iter": 1}}
GROUPS = (("(conv|norm)/.*", None), ("head/.*", {}))


def states(name: str, steps: int) -> tuple[TrainState, TrainState]:
    """Before and after; statistics, zeros of either sign and subnormals are among the frozen."""
    rng = np.random.default_rng(0)
    task = Classification(TinyNet(num_classes=CLASSES, width=4))
    image = rng.uniform(size=(4, 8, 8, 1)).astype(np.float32)
    batch = {"image": image, "label": (np.arange(4) % CLASSES).astype(np.int32)}
    shapes = jax.eval_shape(lambda: task.init(jax.random.key(0), batch))
    options = OptimOptions(
        name=name,
        lr=1e-3,
        weight_decay=0.0 if name == "lbfgs" else 0.1,
        groups=GROUPS,
        options=OPTIONS.get(name, {}),
    )
    optimizer = make_optimizer(options, shapes["params"], total_steps=steps, steps_per_epoch=1)
    state = init_state(task, optimizer, batch, seed=0, ema=True, eval_transform=lambda b: b)
    odd = jnp.array([-0.0, 0.0, 1e-40, -1e30], jnp.float32)
    for tree in (state.params, state.ema["params"]):
        tree["conv"]["bias"] = odd
    step = make_train_step(
        task,
        optimizer,
        seed=0,
        train_transform=lambda key, b: b,
        log_every=10,
        ema_decay=lambda step: jnp.float32(0.9),
    )
    # One program for all steps, so that a thousand take no longer to dispatch than one.
    run = jax.jit(
        lambda state, b: jax.lax.scan(lambda s, _: (step(s, b)[0], None), state, None, steps)[0]
    )
    before = jax.tree.map(np.array, state)
    with jax.numpy_rank_promotion("allow"):
        return before, jax.device_get(run(state, batch))


def check(name: str, steps: int) -> None:
    before, after = states(name, steps)
    assert int(after.step) == steps
    for part in ("conv", "norm"):
        for tree, old in ((after.params, before.params), (after.ema["params"], before.params)):
            for leaf, value in old[part].items():
                assert tree[part][leaf].tobytes() == np.asarray(value).tobytes(), (part, leaf)
    for tree in (after.mutable, after.ema["mutable"]):
        for leaf, old in zip(jax.tree.leaves(tree), jax.tree.leaves(before.mutable)):
            assert leaf.tobytes() == old.tobytes()
    assert np.any(after.params["head"]["kernel"] != before.params["head"]["kernel"])


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_frozen_leaves_keep_every_bit(name):
    check(name, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_leaves_keep_every_bit_for_a_thousand_steps(name):
    check(name, 1000)
