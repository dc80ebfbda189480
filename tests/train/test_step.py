"""The training step against plain loops and closed forms."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import CLASSES, tiny_experiment

from cvjax.tasks.classification import Classification
from cvjax.train.optim import OptimOptions, make_optimizer
from cvjax.train.setup import Setup, batch_shapes, prepare
from cvjax.train.state import TrainState
from cvjax.train.step import init_state, make_train_step, step_rngs

PLAIN = {"optim": {"accumulate": 1, "schedule": {"name": "constant"}}, "evals": {}}
PLAIN["train"] = {"early_stop": None}
EXACT = {"model": {"norm": False, "dropout": 0.0}, "data": {"augment": {}}}


def changed(*parts: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, fields in part.items():
            merged[name] = {**merged.get(name, {}), **fields}
    return merged


def batches(experiment, count: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield experiment.train_source.batch(rng.integers(0, 60, experiment.batch_size))


def host(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


def trajectory(experiment, steps: int) -> tuple[Setup, list[TrainState]]:
    """Copies of the states before the first step and after each."""
    setup = prepare(experiment)
    state = setup.init()
    states = [host(state)]
    for batch in batches(experiment, steps):
        state, _ = setup.train_step(state, batch)
        states.append(host(state))
    return setup, states


@pytest.fixture(scope="module")
def ran():
    """Nine steps of the whole machinery: everything on, the trunk trained, a log line each 4."""
    experiment = tiny_experiment(changed(PLAIN, {"ema": {"decay": 0.6}}))
    return experiment, *trajectory(experiment, 9)


# ---- moving averages and sums


def test_moving_average_follows_its_recurrence_with_warm_up(ran):
    _, _, states = ran
    average = {"params": states[0].params, "mutable": states[0].mutable}
    for step, state in enumerate(states[1:]):
        decay = min(0.6, (1 + step) / (10 + step))
        live = {"params": state.params, "mutable": state.mutable}
        average = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, average, live)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.ema, average
        )
    moved = np.abs(states[-1].ema["params"]["head"]["kernel"] - states[-1].params["head"]["kernel"])
    assert moved.max() > 1e-3  # else the average would be the parameters themselves


def test_window_holds_the_sums_since_the_last_log_step(ran):
    experiment, _, states = ran
    loss = jax.jit(lambda variables, batch, rngs: experiment.task.loss(variables, batch, rngs))
    values = []
    for step, batch in enumerate(batches(experiment, 9)):
        key, rngs = step_rngs(0, step)
        seen = experiment.train_transform(key, batch)
        values.append(float(loss(states[step].variables, seen, rngs)[0]))
    for step in range(1, 10):
        since = (step - 1) // 4 * 4
        window = states[step].window
        assert window["count"] == step - since
        np.testing.assert_allclose(window["loss"], sum(values[since:step]), rtol=1e-5)


def test_step_is_a_pure_function_of_state_and_batch_and_differs_from_step_to_step(ran):
    experiment, setup, _ = ran
    batch = next(batches(experiment, 1))
    reports = []
    for step in (0, 0, 4):  # the fifth step looks at the same batch with other random numbers
        state = setup.init()
        state = state.replace(step=state.step + step)
        reports.append(float(setup.train_step(state, batch)[1]["loss"]))
    assert reports[0] == reports[1] != reports[2]


def test_weights_move_as_sgd_with_momentum_and_decay_says(ran):
    experiment, _, states = ran
    grads = jax.jit(
        jax.grad(lambda p, mutable, batch, rngs: experiment.task.loss(
            {"params": p, **mutable}, batch, rngs)[0])
    )  # fmt: skip
    kernel, momentum = states[0].params["conv"]["kernel"], 0.0
    for step, batch in enumerate(batches(experiment, 4)):
        key, rngs = step_rngs(0, step)
        seen = experiment.train_transform(key, batch)
        before = states[step]
        gradient = grads(before.params, before.mutable, seen, rngs)["conv"]["kernel"]
        momentum = 0.9 * momentum + gradient + 1e-3 * kernel
        kernel = kernel - 0.05 * momentum
        np.testing.assert_allclose(
            states[step + 1].params["conv"]["kernel"], kernel, rtol=1e-4, atol=1e-5
        )


# ---- accumulation


def test_accumulated_batches_step_as_the_whole_batch():
    whole, parts = (
        trajectory(tiny_experiment(changed(PLAIN, EXACT, {"optim": {"accumulate": k}})), 3)[1][-1]
        for k in (1, 4)
    )
    # float32 sums in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts, whole)


def test_statistics_see_the_micro_batches_one_after_the_other():
    changes = changed(PLAIN, EXACT, {"optim": {"accumulate": 2}, "model": {"norm": True}})
    experiment = tiny_experiment(changes)
    _, (before, after) = trajectory(experiment, 1)
    seen = jax.tree.map(jnp.asarray, experiment.eval_transform(next(batches(experiment, 1))))
    mutable = before.mutable
    for first in (0, 1):
        rows = {name: value[first::2] for name, value in seen.items()}
        _, info = experiment.task.loss({"params": before.params, **mutable}, rows, None)
        mutable = info["mutated"]
    for name in ("mean", "var"):
        expected = mutable["batch_stats"]["norm"][name]
        found = after.mutable["batch_stats"]["norm"][name]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# ---- what is not finite


class Roots:
    """A task of one weight: loss sqrt(w * x + y), whose gradient is NaN where the root is 0."""

    def init(self, rng, batch):
        return {"params": {"w": jnp.ones(())}}

    def loss(self, variables, batch, rngs, *, ema=None):
        inside = variables["params"]["w"] * batch["x"].sum() + batch["y"].sum()
        loss = jnp.sqrt(inside)
        return loss, {"metrics": {"loss": loss}, "mutated": {}}


# (x, y) of a batch: sound; the loss is NaN; the loss is 0, but its gradient 0 * inf.
FINE, BAD_LOSS, BAD_GRADIENT = (1.0, 3.0), (-1.0, -3.0), (0.0, 0.0)


@pytest.mark.parametrize(
    ("row", "first_bad"),
    [
        ([FINE, FINE, FINE], -1),
        ([FINE, BAD_LOSS, FINE, BAD_LOSS], 1),
        ([FINE, FINE, BAD_GRADIENT], 2),
        ([BAD_GRADIENT, BAD_LOSS], 0),
    ],
)
def test_bad_step_is_the_first_whose_loss_or_gradient_is_not_finite(row, first_bad):
    task = Roots()
    options = OptimOptions(lr=1e-3)
    optimizer = make_optimizer(options, {"w": jnp.ones(())}, total_steps=9, steps_per_epoch=9)
    state = init_state(
        task, optimizer, {"x": np.ones(1), "y": np.ones(1)}, seed=0, ema=False,
        eval_transform=lambda batch: batch,
    )  # fmt: skip
    step = make_train_step(
        task, optimizer, seed=0, train_transform=lambda key, batch: batch, log_every=2
    )
    step = jax.jit(step)
    for x, y in row:
        state, report = step(state, {"x": jnp.full(1, x), "y": jnp.full(1, y)})
    assert int(state.bad_step) == int(report["bad_step"]) == first_bad


# ---- freezing

FROZEN = {"optim": {"groups": [["(conv|norm)/.*", None], [".*", {}]], "weight_decay": 0.1}}


def test_frozen_leaves_and_their_statistics_stay_bit_for_bit():
    """With decay, momentum, accumulation and moving averages, any of which could move them."""
    changes = changed(PLAIN, FROZEN, {"optim": {"accumulate": 2, "clip_norm": 1.0}})
    _, states = trajectory(tiny_experiment(changes), 4)
    first, last = states[0], states[-1]
    for frozen in ("conv", "norm"):
        for name, value in first.params[frozen].items():
            assert last.params[frozen][name].tobytes() == value.tobytes()
            assert last.ema["params"][frozen][name].tobytes() == value.tobytes()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), last.mutable, first.mutable)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b), last.ema["mutable"], first.mutable
    )
    assert np.all(last.params["head"]["kernel"] != first.params["head"]["kernel"])
    head = sorted(leaf.shape for leaf in jax.tree.leaves(first.params["head"]))
    moments = sorted(leaf.shape for leaf in jax.tree.leaves(first.opt_state) if leaf.shape)
    assert moments == head  # no memory for what is frozen


def test_what_is_not_frozen_does_move(ran):
    """The counterpart: the same leaves in a run that trains them."""
    _, _, states = ran
    for before, after in zip(jax.tree.leaves(states[0].params), jax.tree.leaves(states[-1].params)):
        assert np.any(before != after)
    before, after = states[0].mutable["batch_stats"], states[-1].mutable["batch_stats"]
    assert np.all(before["norm"]["mean"] != after["norm"]["mean"])


class Tower(nn.Module):
    """Four equal dense layers and a head: the cost of each part is known."""

    num_classes: int | None
    width: int = 64

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        for i in range(4):
            x = nn.relu(nn.Dense(self.width, name=f"layer{i}")(x))
        return nn.Dense(self.num_classes, name="head")(x), {}


def flops_of_a_step(groups) -> float:
    changes = changed(PLAIN, EXACT, {"data": {"batch_size": 48}, "ema": {"decay": None}})
    experiment = tiny_experiment({**changes, "model": {"num_classes": CLASSES}})
    experiment = dataclasses.replace(
        experiment,
        task=Classification(Tower(num_classes=CLASSES)),
        optim=OptimOptions(lr=0.1, groups=groups),
    )
    setup = prepare(experiment)
    program = setup.train_step.lower(setup.state_shapes, batch_shapes(setup, 48)).compile()
    return program.cost_analysis()["flops"]


def test_frozen_part_costs_no_backward_pass():
    """Of the compiled program, by XLA's count; a multiply-add is 2."""
    layer = 2 * 48 * 64 * 64  # 48 examples, 64 inputs, 64 outputs
    everything = flops_of_a_step(((".*", {}),))
    head_alone = flops_of_a_step(((r"layer\d/.*", None), (".*", {})))
    last_layer = flops_of_a_step(((r"layer[012]/.*", None), (".*", {})))
    # Forward 4; backward 4 for the weights, 3 for the inputs.
    assert everything > 11 * layer
    assert everything - last_layer == pytest.approx(6 * layer, rel=0.1)
    assert everything - head_alone == pytest.approx(7 * layer, rel=0.1)
    assert head_alone < 5 * layer


# ---- precision, memory, line search


def test_bfloat16_model_trains_with_float32_state():
    changes = changed(PLAIN, EXACT, {"model": {"dtype": "bfloat16", "norm": True}})
    experiment = tiny_experiment(changes)
    setup = prepare(experiment)
    state = setup.init()
    floats = (x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating))
    assert {x.dtype.name for x in floats} == {"float32"}
    batch, losses = next(batches(experiment, 1)), []
    for _ in range(20):
        dtypes = jax.tree.map(lambda x: x.dtype, state)
        state, report = setup.train_step(state, batch)
        assert jax.tree.map(lambda x: x.dtype, state) == dtypes
        losses.append(float(report["loss"] / report["count"]))
    assert losses[-1] < losses[0] / 2
    outputs = experiment.task.model.apply(state.variables, jnp.ones((1, 8, 8, 1)), train=False)[1]
    assert outputs["pooled"].dtype == jnp.bfloat16  # it did compute in half precision


def test_lbfgs_goes_further_in_a_step_than_the_best_gradient_descent():
    def losses(**optim):
        changes = changed(PLAIN, {"data": {"augment": {}, "batch_size": 60}}) | {
            "model": {"name": "linear"}
        }
        changes["optim"] = {**PLAIN["optim"], "weight_decay": 0.0, **optim}
        experiment = tiny_experiment(changes)
        setup = prepare(experiment)
        state, found = setup.init(), []
        batch = experiment.train_source.batch(np.arange(60))
        for _ in range(4):  # log_every is 4: the window starts anew at the fifth
            state, report = setup.train_step(state, batch)
            found.append(float(report["loss"]))
        return np.diff(found, prepend=0.0)

    descent = [losses(lr=lr, options={})[-1] for lr in (0.03, 0.1, 0.3)]
    search = {"line_search_fn": "strong_wolfe", "max_iter": 5}
    lbfgs = losses(name="lbfgs", lr=1.0, options=search)
    assert np.all(np.diff(lbfgs) < 0)
    assert lbfgs[-1] < 0.5 * min(descent)


def test_accumulation_with_a_line_search_is_refused():
    changes = changed(PLAIN, {"optim": {"name": "lbfgs", "options": {}, "accumulate": 2}})
    with pytest.raises(ValueError, match=r"optim.accumulate > 1 does not go with a line search"):
        prepare(tiny_experiment(changes))
