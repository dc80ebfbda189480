"""Optimizers against PyTorch's trajectories and the papers' equations; groups and freezing."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvjax.train.optim import OPTIMIZERS, OptimOptions, make_optimizer

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "optim.npz")
TRAJECTORIES = [c for c in json.loads(str(GOLDEN["cases"])) if c["op"].startswith("optim.")]

# Options that remember and decay as much as each optimizer can.
HEAVY = {
    "sgd": dict(momentum=0.9),
    "rmsprop": dict(momentum=0.9, centered=True),
    "adam": dict(amsgrad=True),
    "lbfgs": dict(max_iter=2, line_search_fn="strong_wolfe"),
}


def optimizer_for(params, **options):
    options = {"lr": 0.1, **options}
    return make_optimizer(OptimOptions(**options), params, total_steps=10, steps_per_epoch=1)


def run(optimizer, params, loss, steps, **extra):
    """Parameters before each step and after the last, stacked; the last optimizer state."""

    def step(carry, _):
        params, state = carry
        trainable = optimizer.trainable(params)

        def value_fn(trainable):
            return loss(optimizer.merge(trainable, params))

        value, grads = jax.value_and_grad(value_fn)(trainable)
        if optimizer.needs_value_fn:
            extra.update(value=value, grad=grads, value_fn=value_fn)
        updates, state = optimizer.tx.update(grads, state, trainable, **extra)
        params = optimizer.merge(optax.apply_updates(trainable, updates), params)
        return (params, state), params

    @jax.jit
    def trajectory(params):
        state = optimizer.tx.init(optimizer.trainable(params))
        (_, state), later = jax.lax.scan(step, (params, state), length=steps)
        rows = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), params, later)
        return rows, state

    return trajectory(params)


def golden_loss(params):
    """0.5 (x4-c)'A(x4-c) + 0.1 rosenbrock(x[4], x[5]) + 0.1 rosenbrock(x[6], x[7])."""
    x = params["x"]
    A, c = jnp.asarray(GOLDEN["A"], x.dtype), jnp.asarray(GOLDEN["c"], x.dtype)
    d = x[:4] - c
    valleys = [(1 - a) ** 2 + 100 * (b - a * a) ** 2 for a, b in ((x[4], x[5]), (x[6], x[7]))]
    return 0.5 * d @ A @ d + 0.1 * sum(valleys)


def golden_run(case, dtype):
    options = dict(case["args"])
    name = case["op"].removeprefix("optim.").lower()
    lr = options.pop("lr")
    decay = options.pop("weight_decay", 0.01 if name == "adamw" else 0.0)  # torch's defaults
    if "betas" in options:
        options["b1"], options["b2"] = options.pop("betas")
    params = {"x": jnp.asarray(GOLDEN["x0"], dtype)}
    optimizer = optimizer_for(params, name=name, lr=lr, weight_decay=decay, options=options)
    return np.asarray(run(optimizer, params, golden_loss, 10)[0]["x"])


def regression_params():
    rng = np.random.default_rng(0)
    shapes = {
        "backbone": {"conv": {"kernel": (3, 4), "bias": (4,)}},
        "head": {"kernel": (4, 2), "bias": (2,)},
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def regression_loss(params):
    x = jnp.linspace(-1.0, 1.0, 15).reshape(5, 3)
    conv, head = params["backbone"]["conv"], params["head"]
    hidden = jnp.tanh(x @ conv["kernel"] + conv["bias"][None])
    y = hidden @ head["kernel"] + head["bias"][None]
    return jnp.mean((y - x[:, :2] ** 2) ** 2)


def assert_trees_equal(a, b):
    """Bit for bit, -0.0 apart from 0.0."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def clip_by_norm(grads, max_norm):
    """What gradient descent of learning rate 1 subtracts."""
    optimizer = optimizer_for(grads, lr=1.0, clip_norm=max_norm)
    updates, _ = optimizer.tx.update(grads, optimizer.tx.init(grads), grads)
    return jax.tree.map(jnp.negative, updates)


def remembered_between(state):
    """The memory of the one group that does not move at each step."""

    def is_held(node):
        return isinstance(node, optax.ConditionallyMaskState)

    (held,) = filter(is_held, jax.tree.leaves(state, is_leaf=is_held))
    return held.inner_state


def message(params=None, **options):
    params = regression_params() if params is None else params
    with pytest.raises(ValueError) as error:
        optimizer_for(params, **options)
    return str(error.value)


# ---- arithmetic


@pytest.mark.sampled(12)
@pytest.mark.parametrize("case", TRAJECTORIES, ids=lambda c: c["id"])
def test_trajectory_matches_torch_in_float64(case):
    # Rounding of 1e-16 a step, except where it grows or torch itself rounds.
    tolerance = {
        "optim_NAdam_00": 5e-9,  # torch keeps the product of its b1 in float32
        "optim_LBFGS_01": 1e-12,  # line searches: 1.4e-13 off where products are rounded singly
        "optim_LBFGS_02": 1e-8,  # ill-conditioned: torch itself, run again, is 5e-10 off
    }.get(case["id"], 1e-13)
    with jax.enable_x64(True):
        rows = golden_run(case, jnp.float64)
    np.testing.assert_allclose(rows, GOLDEN[case["id"]], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "case",
    [c for c in TRAJECTORIES if c["id"].endswith("_00") and "LBFGS" not in c["id"]],
    ids=lambda c: c["id"],
)
def test_trajectory_stays_at_torch_in_float32(case):
    # |x| is at most 3, so a rounding error is up to 2.4e-7; ten steps add about one more.
    np.testing.assert_allclose(golden_run(case, jnp.float32), GOLDEN[case["id"]], rtol=0, atol=1e-6)


def test_lars_follows_the_papers_algorithm():
    # You et al. 2017, algorithm 1, layer by layer.
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(jnp.float64), regression_params())
        optimizer = optimizer_for(
            params,
            name="lars",
            lr=2.0,
            weight_decay=0.1,
            schedule=dict(name="step", every=1, factor=0.5, unit="step"),  # exact in float32
            options=dict(momentum=0.8, trust_coefficient=0.02),
        )
        rows, _ = run(optimizer, params, regression_loss, 5)
        leaves, structure = jax.tree.flatten(params)
        w = [np.array(x) for x in leaves]
        v = [np.zeros_like(x) for x in w]
        for t in range(5):
            g = jax.tree.leaves(jax.grad(regression_loss)(jax.tree.unflatten(structure, w)))
            gamma = 2.0 * 0.5**t
            for i in range(len(w)):
                g_norm, w_norm = np.linalg.norm(g[i]), np.linalg.norm(w[i])
                local_lr = 0.02 * w_norm / (g_norm + 0.1 * w_norm)
                v[i] = 0.8 * v[i] + gamma * local_lr * (g[i] + 0.1 * w[i])
                w[i] = w[i] - v[i]
        for ours, theirs in zip(jax.tree.leaves(rows), w):
            np.testing.assert_allclose(ours[-1], theirs, rtol=1e-12)


def test_lamb_follows_the_papers_algorithm():
    # You et al. 2020, algorithm 2, layer by layer.
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(jnp.float64), regression_params())
        optimizer = optimizer_for(
            params, name="lamb", lr=0.05, weight_decay=0.1, options=dict(b1=0.8, b2=0.95, eps=1e-3)
        )
        rows, _ = run(optimizer, params, regression_loss, 5)
        leaves, structure = jax.tree.flatten(params)
        x = [np.array(leaf) for leaf in leaves]
        m, v = [np.zeros_like(a) for a in x], [np.zeros_like(a) for a in x]
        for t in range(1, 6):
            g = jax.tree.leaves(jax.grad(regression_loss)(jax.tree.unflatten(structure, x)))
            for i in range(len(x)):
                m[i] = 0.8 * m[i] + 0.2 * g[i]
                v[i] = 0.95 * v[i] + 0.05 * g[i] ** 2
                r = m[i] / (1 - 0.8**t) / (np.sqrt(v[i] / (1 - 0.95**t)) + 1e-3)
                step = r + 0.1 * x[i]
                x[i] = x[i] - 0.05 * np.linalg.norm(x[i]) / np.linalg.norm(step) * step
        for ours, theirs in zip(jax.tree.leaves(rows), x):
            np.testing.assert_allclose(ours[-1], theirs, rtol=1e-12)


@pytest.mark.parametrize(("name", "twin"), [("lars", "sgd"), ("lamb", "adamw")])
def test_adapt_exempt_parameters_take_the_plain_step(name, twin):
    params = regression_params()
    eps = dict(eps=1e-6) if name == "lamb" else {}
    plain = dict(momentum=0.0) if name == "lars" else eps
    common = dict(lr=0.01, weight_decay=0.1)
    ours = optimizer_for(params, name=name, adapt_exempt=(".*",), options=plain, **common)
    theirs = optimizer_for(params, name=twin, options=plain, **common)
    a, _ = run(ours, params, regression_loss, 3)
    b, _ = run(theirs, params, regression_loss, 3)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_zero_tensors_move_and_zero_gradients_are_finite(name):
    params = {"w": jnp.zeros(3), "still": jnp.ones(2)}
    rows, _ = run(optimizer_for(params, name=name), params, lambda p: p["w"].sum(), 2)
    assert (rows["w"][-1] < 0).all()
    np.testing.assert_array_equal(rows["still"][-1], 1.0)


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("lion", dict(b1=0.8), lambda lr: optax.lion(lr, b1=0.8, weight_decay=0.0)),
        ("adafactor", dict(min_dim_size_to_factor=2), lambda lr: optax.adafactor(lr, 2)),
        ("adabelief", {}, optax.adabelief),
    ],
    ids=["lion", "adafactor", "adabelief"],
)
def test_a_name_of_optax_is_its_optimizer_under_our_schedule(name, options, theirs):
    params = {"w": jnp.asarray([[1.0, -2.0, 0.5], [0.1, 0.2, 3.0]])}
    ours = optimizer_for(
        params, name=name, schedule=dict(name="linear", unit="step"), options=options
    )
    rows, _ = run(ours, params, lambda p: (p["w"] ** 4).sum(), 3)

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda x: 4 * x**3, params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    tx = theirs(ours.lr_fn)
    state = tx.init(params)
    for row in rows["w"]:
        np.testing.assert_allclose(row, params["w"], rtol=1e-6)
        params, state = step(params, state)


def test_optax_without_decay_of_its_own_gets_a_decoupled_one():
    params = {"w": jnp.asarray([1.0, -2.0])}
    zero = {"w": jnp.zeros(2)}
    optimizer = optimizer_for(params, name="adabelief", lr=0.1, weight_decay=0.2)
    updates, _ = optimizer.tx.update(zero, optimizer.tx.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.1 * 0.2 * params["w"], rtol=1e-6)


def test_muon_orthogonalises_kernels_and_leaves_biases_to_adam():
    grads = {
        "kernel": jax.random.normal(jax.random.key(0), (3, 3, 2, 4)),
        "bias": jnp.asarray([3.0, -0.1]),
    }
    groups = (("kernel", dict(lr=0.2)), (".*", {}))
    optimizer = optimizer_for(grads, name="muon", groups=groups, options=dict(nesterov=False))
    state = optimizer.tx.init(grads)
    updates, _ = jax.jit(optimizer.tx.update)(grads, state, grads)
    stretch = np.linalg.svd(np.reshape(updates["kernel"], (18, 4)), compute_uv=False) / 0.2
    assert ((stretch > 0.6) & (stretch < 1.3)).all()  # what its five iterations promise
    # Adam's first step is the gradient's sign, up to 1 - 0.999 in float32
    np.testing.assert_allclose(updates["bias"], [-0.1, 0.1], rtol=1e-4)


def test_clipping_by_norm_matches_torch():
    grads = [jnp.asarray(GOLDEN[f"clip_grad_norm__00/g{i}"]) for i in range(3)]
    assert optax.tree.norm(grads) == pytest.approx(float(GOLDEN["clip_grad_norm__00/norm"]))
    for i, clipped in enumerate(clip_by_norm(grads, 1.0)):
        np.testing.assert_allclose(clipped, GOLDEN[f"clip_grad_norm__00/out{i}"], rtol=1e-6)


def test_clipping_leaves_small_gradients_alone():
    grads = [jnp.asarray([0.3, 0.4])]
    np.testing.assert_array_equal(clip_by_norm(grads, 1.0)[0], grads[0])


def test_clip_value_comes_before_clip_norm():
    params = {"w": jnp.zeros(2)}
    optimizer = optimizer_for(params, lr=1.0, clip_value=3.0, clip_norm=2.5)
    grads = {"w": jnp.asarray([4.0, -100.0])}
    updates, _ = optimizer.tx.update(grads, optimizer.tx.init(params), params)
    expected = np.array([-3.0, 3.0]) * 2.5 / np.sqrt(18.0)
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["nadam", "radam", "adagrad"])
def test_a_fresh_state_can_be_donated(name):
    params = {"w": jnp.ones(3)}
    leaves = jax.tree.leaves(optimizer_for(params, name=name).tx.init(params))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


# ---- learning rates and decay


def test_updates_follow_the_schedule_that_lr_fn_tells():
    params = {"w": jnp.zeros(1)}
    optimizer = optimizer_for(params, lr=0.5, schedule=dict(name="cosine", warmup=3))
    rows, _ = run(optimizer, params, lambda p: p["w"].sum(), 10)
    np.testing.assert_allclose(
        -np.diff(rows["w"][:, 0]), [optimizer.lr_fn(step) for step in range(10)], atol=1e-6
    )


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb", "lars"])
def test_lr_scale_multiplies_the_learning_rate_with_its_decay(name):
    params = {"w": jnp.asarray([1.0, -2.0])}

    def updates_of(lr, **extra):
        optimizer = optimizer_for(params, name=name, weight_decay=0.1, lr=lr)
        state = optimizer.tx.init(params)
        return optimizer.tx.update({"w": jnp.asarray([3.0, 0.5])}, state, params, **extra)[0]

    np.testing.assert_allclose(updates_of(0.05)["w"], updates_of(0.1, lr_scale=0.5)["w"], rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb", "lars", "lbfgs", "lion", "adabelief"])
def test_decay_exempt_parameters_do_not_decay(name):
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    optimizer = optimizer_for(params, name=name, weight_decay=0.1, decay_exempt=("bias",))
    rows, _ = run(optimizer, params, lambda p: 0.0 * p["bias"].sum(), 2)
    np.testing.assert_array_equal(rows["bias"][-1], 1.0)
    assert (rows["kernel"][-1] < 1.0).all()


def test_everything_decays_by_default():
    params = regression_params()
    assert {row.weight_decay for row in optimizer_for(params, weight_decay=0.1).table()} == {0.1}


@pytest.mark.parametrize("name", ["momentum", "adamw", "rmsprop"])
def test_group_options_equal_an_optimizer_with_those_options(name):
    params = regression_params()
    schedule = dict(name="linear", unit="step")
    groups = (("backbone/.*", dict(lr=0.02, weight_decay=0.3)), (".*", dict(lr_multiplier=2.0)))
    grouped = optimizer_for(
        params, name=name, lr=0.1, weight_decay=0.01, schedule=schedule, groups=groups
    )
    grads = jax.tree.map(jnp.sin, params)

    def updates_of(optimizer):
        return jax.jit(lambda: optimizer.tx.update(grads, optimizer.tx.init(params), params)[0])()

    low = updates_of(optimizer_for(params, name=name, lr=0.02, weight_decay=0.3, schedule=schedule))
    high = updates_of(
        optimizer_for(params, name=name, lr=0.2, weight_decay=0.01, schedule=schedule)
    )
    expected = {"backbone": low["backbone"], "head": high["head"]}
    for a, b in zip(jax.tree.leaves(updates_of(grouped)), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=0)


def test_the_table_tells_what_happens_to_each_parameter():
    optimizer = optimizer_for(
        regression_params(),
        lr=0.1,
        weight_decay=0.01,
        decay_exempt=(".*/bias",),
        groups=(("backbone/.*", None), ("head/kernel", dict(lr=0.3)), (".*", {})),
    )
    assert [tuple(row) for row in optimizer.table()] == [
        ("backbone/conv/bias", (4,), "backbone/.*", 0.0, 0.0, True),
        ("backbone/conv/kernel", (3, 4), "backbone/.*", 0.0, 0.0, True),
        ("head/bias", (2,), ".*", 0.1, 0.0, False),
        ("head/kernel", (4, 2), "head/kernel", 0.3, 0.01, False),
    ]


# ---- groups that move at some steps only


@pytest.mark.parametrize("name", ["momentum", "adamw", "nadam"])
def test_every_second_step_equals_only_those_steps(name):
    params = {"slow": jnp.asarray([1.0, -0.0]), "fast": jnp.asarray([2.0])}
    optimizer = optimizer_for(
        params, name=name, weight_decay=0.1, groups=(("slow", dict(every=2)), (".*", {}))
    )
    alone = optimizer_for({"slow": params["slow"]}, name=name, weight_decay=0.1)
    state, reference = optimizer.tx.init(params), alone.tx.init({"slow": params["slow"]})
    slow = {"slow": params["slow"]}
    for step in range(1, 7):
        grads = {"slow": jnp.asarray([0.1, 0.2]) * step, "fast": jnp.asarray([1.0])}
        before = params, remembered_between(state)
        updates, state = optimizer.tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        assert params["fast"] != before[0]["fast"]
        if step % 2:
            assert_trees_equal(params["slow"], before[0]["slow"])
            assert_trees_equal(remembered_between(state), before[1])
        else:
            updates, reference = alone.tx.update({"slow": grads["slow"]}, reference, slow)
            slow = optax.apply_updates(slow, updates)
            np.testing.assert_allclose(params["slow"], slow["slow"], rtol=1e-6)


def test_every_second_step_takes_the_schedule_of_the_whole_run():
    params = {"slow": jnp.zeros(1), "fast": jnp.zeros(1)}
    optimizer = optimizer_for(
        params,
        schedule=dict(name="linear", unit="step"),
        groups=(("slow", dict(every=2)), (".*", {})),
    )
    rows, _ = run(optimizer, params, lambda p: p["slow"].sum() + p["fast"].sum(), 6)
    expected = [optimizer.lr_fn(step) if step % 2 else 0.0 for step in range(6)]
    np.testing.assert_allclose(-np.diff(rows["slow"][:, 0]), expected, atol=1e-7)


def test_a_group_that_sits_out_has_no_share_of_the_clip_norm():
    params = {"slow": jnp.zeros(1), "fast": jnp.zeros(1)}
    optimizer = optimizer_for(
        params, lr=1.0, clip_norm=1.0, groups=(("slow", dict(every=2)), (".*", {}))
    )
    grads = {"slow": jnp.asarray([4.0]), "fast": jnp.asarray([3.0])}
    first, state = optimizer.tx.update(grads, optimizer.tx.init(params), params)
    second, _ = optimizer.tx.update(grads, state, params)
    assert float(first["fast"][0]) == pytest.approx(-1.0, rel=1e-6)
    assert float(second["fast"][0]) == pytest.approx(-0.6, rel=1e-6)


# ---- freezing


FREEZE_BACKBONE = (("backbone/.*", None), (".*", {}))


@pytest.mark.sampled(16)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_leaves_stay_bit_identical_while_the_others_move(name):
    params = {"frozen": jnp.asarray([-0.0, 0.0, 1e-40, 1.0]), "free": jnp.asarray([1.0, -2.0])}
    optimizer = optimizer_for(
        params,
        name=name,
        weight_decay=0.1,
        groups=(("frozen", None), (".*", {})),
        options=HEAVY.get(name, {}),
    )
    rows, _ = run(optimizer, params, lambda p: (p["frozen"].sum() * p["free"] ** 2).sum(), 4)
    assert_trees_equal(rows["frozen"][-1], params["frozen"])
    assert (rows["free"][-1] != params["free"]).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_leaves_have_no_optimizer_memory(name):
    def sizes(params, groups):
        optimizer = optimizer_for(
            params, name=name, groups=groups, options=HEAVY.get(name, {}), clip_norm=0.0
        )
        state = jax.eval_shape(lambda: optimizer.tx.init(optimizer.trainable(params)))
        return sorted(leaf.shape for leaf in jax.tree.leaves(state))

    params = regression_params()
    assert sizes(params, FREEZE_BACKBONE) == sizes({"head": params["head"]}, ((".*", {}),))


def test_frozen_leaves_have_no_share_of_the_clip_norm():
    params = {"frozen": jnp.ones(1), "free": jnp.ones(1)}
    optimizer = optimizer_for(params, lr=1.0, clip_norm=1.0, groups=(("frozen", None), (".*", {})))
    rows, _ = run(optimizer, params, lambda p: 100.0 * p["frozen"].sum() + 2 * p["free"].sum(), 1)
    assert float(rows["free"][1, 0]) == pytest.approx(0.0, abs=1e-6)  # 1 - clipped gradient of 1


def test_a_frozen_lower_part_costs_no_backward_flops():
    params = {f"layer{i}": jnp.ones((64, 64)) for i in range(4)} | {"head": jnp.ones((64, 10))}
    optimizer = optimizer_for(params, groups=(("layer.*", None), (".*", {})))
    x = jnp.ones((32, 64))

    def features(params, x):
        for i in range(4):
            x = jnp.maximum(x @ params[f"layer{i}"], 0.0)
        return x

    def loss(params, x):
        return ((features(params, x) @ params["head"]) ** 2).sum()

    def flops(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]

    def gradient(trainable, params):
        return jax.grad(lambda t: loss(optimizer.merge(t, params), x))(trainable)

    frozen = flops(gradient, optimizer.trainable(params), params)
    head_alone = flops(jax.grad(lambda h, x: ((x @ h) ** 2).sum()), params["head"], x)
    needed = flops(features, params, x) + head_alone
    whole = flops(jax.grad(loss), params, x)
    assert frozen <= 1.01 * needed
    assert frozen < 0.5 * whole


def test_trainable_and_merge_are_inverse():
    params = regression_params()
    optimizer = optimizer_for(params, groups=FREEZE_BACKBONE)
    trainable = optimizer.trainable(params)
    assert len(jax.tree.leaves(trainable)) == 2
    assert_trees_equal(optimizer.merge(trainable, params), params)


def test_shapes_are_enough_to_make_an_optimizer():
    params = regression_params()
    shapes = jax.eval_shape(lambda: params)
    assert optimizer_for(shapes).table() == optimizer_for(params).table()


def test_a_tree_of_another_model_is_refused():
    optimizer = optimizer_for(regression_params())
    with pytest.raises(ValueError, match="not the one that the optimizer was made for"):
        optimizer.trainable({"head": jnp.zeros(2)})


def test_gradients_of_frozen_parameters_are_refused():
    params = regression_params()
    optimizer = optimizer_for(params, groups=FREEZE_BACKBONE)
    state = optimizer.tx.init(optimizer.trainable(params))
    with pytest.raises(ValueError, match=r"optimizer\.trainable"):
        optimizer.tx.update(params, state, params)


# ---- L-BFGS


def test_lbfgs_beats_gradient_descent_step_by_step():
    # A5.09: full batch, no noise, one iteration an update.
    params = {"x": jnp.asarray(GOLDEN["x0"])}
    lbfgs = optimizer_for(
        params,
        name="lbfgs",
        lr=1.0,
        options=dict(max_iter=1, max_eval=20, line_search_fn="strong_wolfe"),
    )
    loss = jax.vmap(golden_loss)
    ours = loss(run(lbfgs, params, golden_loss, 20)[0])
    descents = [
        loss(run(optimizer_for(params, lr=lr), params, golden_loss, 20)[0])
        for lr in (0.003, 0.01)  # 0.03 diverges
    ]
    assert all(ours[-1] < 0.1 * descent[-1] for descent in descents)


def test_lbfgs_finds_the_minimum_of_a_quadratic():
    with jax.enable_x64(True):
        A = jnp.diag(jnp.asarray([1.0, 10.0, 100.0]))
        params = {"x": jnp.asarray([3.0, -2.0, 1.0])}
        optimizer = optimizer_for(
            params, name="lbfgs", lr=1.0, options=dict(line_search_fn="strong_wolfe")
        )
        rows, _ = run(optimizer, params, lambda p: 0.5 * p["x"] @ A @ p["x"], 2)
    np.testing.assert_allclose(rows["x"][-1], 0.0, atol=1e-6)


def test_lbfgs_decay_is_part_of_the_loss():
    params = {"x": jnp.asarray(GOLDEN["x0"])}
    options = dict(max_iter=1, max_eval=5, line_search_fn="strong_wolfe")
    decayed = optimizer_for(params, name="lbfgs", lr=1.0, weight_decay=0.1, options=options)
    plain = optimizer_for(params, name="lbfgs", lr=1.0, options=options)

    def penalised(params):
        return golden_loss(params) + 0.05 * (params["x"] ** 2).sum()

    ours, _ = run(decayed, params, golden_loss, 3)
    theirs, _ = run(plain, params, penalised, 3)
    np.testing.assert_allclose(ours["x"], theirs["x"], rtol=0, atol=1e-5)


def test_lbfgs_line_search_steps_back_from_where_the_loss_is_infinite():
    params = {"x": jnp.asarray([0.5])}
    optimizer = optimizer_for(
        params, name="lbfgs", lr=10.0, options=dict(line_search_fn="strong_wolfe")
    )
    # minus the logarithm of a distance to a wall at x = 1, NaN beyond it
    rows, _ = run(optimizer, params, lambda p: (-jnp.log(1.0 - p["x"]) - 3.0 * p["x"])[0], 3)
    assert float(rows["x"][-1, 0]) == pytest.approx(2.0 / 3.0, abs=1e-3)


def test_lbfgs_at_the_minimum_stays():
    params = {"x": jnp.zeros(3)}
    rows, _ = run(optimizer_for(params, name="lbfgs"), params, lambda p: (p["x"] ** 2).sum(), 2)
    np.testing.assert_array_equal(rows["x"], 0.0)


def test_lbfgs_says_what_it_cannot_honour():
    said = message(
        name="lbfgs",
        clip_norm=1.0,
        groups=(("head/.*", dict(every=2, lr=0.1)), (".*", {})),
        options=dict(history=5),
    )
    assert "optim.clip_norm" in said
    assert "lr, every of a group cannot be honoured" in said
    assert "Did you mean 'history_size'?" in said


# ---- errors


def test_a_parameter_without_a_rule_is_an_error_in_the_house_style():
    params = {"backbone": {"kernel": jnp.zeros(1)}, "head": {"bias": jnp.zeros(1)}}
    assert message(params, groups=(("backbone/.*", {}),)) == (
        "optim.groups: no pattern matches parameter 'head/bias'. Patterns: ['backbone/.*'].\n"
        "  End the list with ('.*', {}) or add a rule for it."
    )


def test_all_problems_are_said_at_once():
    said = message(
        name="adamm",
        lr=-1.0,
        schedule=dict(name="cosin", lr=3),
        decay_exempt=("bias",),
        groups=(("tail/.*", {}), ("backbone/.*", dict(lrr=1.0, every=0))),
        accumulate=0,
    )
    for part in (
        "optim.name: unknown name 'adamm'. Did you mean 'adam'?",
        "optim.lr:",
        "optim.schedule: 'lr' comes from optim.lr",
        "optim.decay_exempt: pattern 'bias' matches no parameter",
        "optim.groups: pattern 'tail/.*' matches no parameter",
        "no pattern matches parameter 'head/bias'",
        "no pattern matches parameter 'head/kernel'",
        "unknown name 'lrr'. Did you mean 'lr'?",
        "every: a whole number",
        "optim.accumulate:",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(schedule=dict(name="cosin")), "optim.schedule: name: unknown name 'cosin'"),
        (dict(schedule=dict(warmup=1)), "optim.schedule: 'name' is missing"),
        (dict(schedule=dict(name="cosine", warmup=11)), "longer than the run"),
        (dict(name="adam", options=dict(beta1=0.9)), "has no option 'beta1'"),
        (dict(name="adam", options=dict(b1="0.9")), "b1='0.9' is not of type float"),
        (dict(name="adam", options=dict(b2=1.0)), "optim.options: b2:"),
        (dict(name="lion", options=dict(weight_decay=0.1)), "has no option 'weight_decay'"),
        (dict(options=dict(nesterov=True)), "nesterov: it needs momentum"),
        (dict(adapt_exempt=(".*/bias",)), "only lars and lamb adapt"),
        (dict(groups=((".*", None),)), "every parameter is frozen"),
        (dict(groups=(("(", {}), (".*", {}))), "is not a regular expression"),
        (dict(groups=((".*", {}), ("head/.*", None))), "'head/.*' never applies"),
        (dict(groups=((".*", dict(lr="high")),)), "lr: a finite number"),
    ],
)
def test_a_wrong_option_is_named(options, part):
    assert part in message(**options)
