"""The one step: averages, accumulation, sums for the log, freezing, against plain arithmetic."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import tiny_experiment

from cvjax.data.pipeline import Reading, train_batches
from cvjax.train.setup import prepare

PLAIN = {
    "model": {"dropout": 0.0, "norm": False},
    "data": {"augment": {}},
    "optim": {
        "lr": 0.1,
        "options": {},
        "weight_decay": 0.0,
        "accumulate": 1,
        "schedule": {"name": "constant"},
    },
    "ema": {"decay": None},
    "train": {"early_stop": None},
}


@pytest.fixture(autouse=True)
def _libraries_may_broadcast():
    with jax.numpy_rank_promotion("allow"):
        yield


def changed(*changes):
    """PLAIN with further changes, section by section."""
    merged = {section: dict(fields) for section, fields in PLAIN.items()}
    for change in changes:
        for section, fields in change.items():
            merged.setdefault(section, {}).update(fields)
    return merged


def run_steps(experiment, count):
    """The states after 0 ... count steps and their reports, on the host."""
    setup = prepare(experiment)
    reading = Reading(experiment.batch_size, setup.rows)
    batches = train_batches(experiment.train_source, reading, seed=experiment.seed)
    state = setup.init()
    states, reports = [jax.device_get(state)], []
    for _ in range(count):
        state, report = setup.train_step(state, next(batches))
        states.append(jax.device_get(state))
        reports.append(jax.device_get(report))
    return states, reports


def leaves(tree):
    return {"/".join(k): v for k, v in flax.traverse_util.flatten_dict(tree).items()}


def test_plain_step_is_gradient_descent_on_the_loss():
    experiment = tiny_experiment(changed())
    states, _ = run_steps(experiment, 1)
    reading = Reading(experiment.batch_size, np.arange(experiment.batch_size))
    batch = next(train_batches(experiment.train_source, reading, seed=experiment.seed))

    def loss(params):  # straight from the model, without task, transform or step
        image = (jnp.asarray(batch["image"], jnp.float32) / 255 - 0.4) / 0.3
        logits, _ = experiment.task.model.apply({"params": params}, image, train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    before = states[0].params
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, before, jax.grad(loss)(before))
    for path, value in leaves(expected).items():
        np.testing.assert_allclose(leaves(states[1].params)[path], value, rtol=1e-5, atol=1e-6)


def test_moving_average_follows_its_closed_form():
    experiment = tiny_experiment(changed({"ema": {"decay": 0.9, "warmup": False}}))
    states, _ = run_steps(experiment, 5)
    kernel = [state.params["head"]["kernel"] for state in states]
    expected = 0.9**5 * kernel[0] + sum(0.1 * 0.9 ** (5 - t) * kernel[t] for t in range(1, 6))
    found = states[5].ema["params"]["head"]["kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_warm_moving_average_forgets_the_start():
    experiment = tiny_experiment(changed({"ema": {"decay": 0.999, "warmup": True}}))
    states, _ = run_steps(experiment, 4)
    average = states[0].params["head"]["kernel"]
    for t in range(4):
        decay = min(0.999, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * states[t + 1].params["head"]["kernel"]
    found = states[4].ema["params"]["head"]["kernel"]
    np.testing.assert_allclose(found, average, rtol=1e-5, atol=1e-6)


def test_accumulated_step_equals_the_whole_batch():
    whole, _ = run_steps(tiny_experiment(changed()), 3)
    parts, _ = run_steps(tiny_experiment(changed({"optim": {"accumulate": 4}})), 3)
    for path, value in leaves(whole[3].params).items():
        # The same sum of gradients in another order.
        np.testing.assert_allclose(leaves(parts[3].params)[path], value, rtol=1e-4, atol=1e-6)


def test_window_sums_the_steps_since_the_last_log_line():
    every, one = {"train": {"log_every": 3}}, {"train": {"log_every": 1}}
    _, reports = run_steps(tiny_experiment(changed(every)), 7)
    _, singles = run_steps(tiny_experiment(changed(one)), 7)
    for step, report in enumerate(reports):
        since = step // 3 * 3
        assert report["count"] == step - since + 1
        expected = sum(singles[i]["loss"] for i in range(since, step + 1))
        np.testing.assert_allclose(report["loss"], expected, rtol=1e-5)


def test_first_step_that_is_not_finite_is_remembered():
    # The rate blows the parameters up after the first update: later losses overflow.
    experiment = tiny_experiment(changed({"optim": {"lr": 1e30}}))
    _, reports = run_steps(experiment, 6)
    finite = [bool(np.isfinite(r["bad_step"]) and r["bad_step"] < 0) for r in reports]
    first = finite.index(False)
    assert 0 < first < 5
    assert [int(report["bad_step"]) for report in reports[first:]] == [first] * (6 - first)


FROZEN = {
    "model": {"norm": True, "dropout": 0.5},
    "optim": {
        "name": "adamw",
        "weight_decay": 0.1,
        "groups": (("(conv|norm)/.*", None), ("head/.*", {})),
        "lr": 0.05,
    },
    "ema": {"decay": 0.9},
}


def test_frozen_parameters_statistics_and_averages_do_not_move():
    states, _ = run_steps(tiny_experiment(changed(FROZEN)), 20)
    first, last = states[0], states[-1]
    for path, value in leaves(first.params).items():
        same = np.array_equal(leaves(last.params)[path], value)
        assert same == (not path.startswith("head/")), path
    for path, value in leaves(first.mutable).items():
        np.testing.assert_array_equal(leaves(last.mutable)[path], value)
    for path in ("conv/kernel", "norm/scale", "norm/bias"):
        np.testing.assert_array_equal(leaves(last.ema["params"])[path], leaves(first.params)[path])


def test_frozen_parameters_have_no_optimizer_memory():
    frozen, _ = run_steps(tiny_experiment(changed(FROZEN)), 0)
    free = changed(FROZEN, {"optim": {"groups": ((".*", {}),)}})
    trained, _ = run_steps(tiny_experiment(free), 0)

    def size(states):
        return sum(np.size(leaf) for leaf in jax.tree.leaves(states[0].opt_state))

    below = sum(v.size for p, v in leaves(frozen[0].params).items() if not p.startswith("head/"))
    assert size(trained) - size(frozen) == 2 * below  # Adam's two moments


def test_frozen_convolution_costs_no_backward_pass():
    def flops(groups):
        changes = {"model": {"width": 64}, "optim": {"groups": groups}}
        experiment = tiny_experiment(changed(changes))
        setup = prepare(experiment)
        image = jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.uint8)
        batch = {"image": image, "label": jax.ShapeDtypeStruct((8,), jnp.int32)}
        return setup.train_step.lower(setup.state_shapes, batch).compile().cost_analysis()["flops"]

    all_trained = flops(((".*", {}),))
    head_alone = flops((("conv/.*", None), ("head/.*", {})))
    # Its weight's gradient: 2 x 8 images x 4 x 4 places x 9 taps x 64 features (padding not counted
    # exactly, hence 0.7).
    assert all_trained - head_alone > 0.7 * 2 * 8 * 16 * 9 * 64


def test_bfloat16_compute_keeps_float32_parameters_and_learns():
    experiment = tiny_experiment(changed({"model": {"dtype": "bfloat16"}, "optim": {"lr": 0.3}}))
    states, reports = run_steps(experiment, 40)
    assert {leaf.dtype for leaf in jax.tree.leaves(states[-1].params)} == {np.dtype("float32")}
    assert reports[-1]["loss"] / reports[-1]["count"] < 0.7 * reports[0]["loss"]


def test_full_batch_lbfgs_gets_lower_in_fewer_steps_than_gradient_descent():
    full = {"data": {"batch_size": 60}, "train": {"log_every": 1}}
    lbfgs = {"name": "lbfgs", "lr": 1.0, "options": {"line_search_fn": "strong_wolfe"}}
    _, fast = run_steps(tiny_experiment(changed(full, {"optim": lbfgs})), 6)
    best_descent = min(
        run_steps(tiny_experiment(changed(full, {"optim": {"lr": lr}})), 6)[1][-1]["loss"]
        for lr in (0.03, 0.1, 0.3, 1.0)
    )
    assert fast[-1]["loss"] < 0.5 * best_descent


def test_line_search_refuses_accumulation():
    change = {"optim": {"name": "lbfgs", "accumulate": 2}}
    with pytest.raises(ValueError, match="line search"):
        prepare(tiny_experiment(changed(change)))
