"""Two players in one loss: each gets its own gradient, and moves when the optimizer says so."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.losses.adversarial import LOSSES
from cvjax.models import create
from cvjax.ops.latent import draw_latent
from cvjax.tasks.gan import GAN
from cvjax.train.optim import OptimOptions, make_optimizer
from cvjax.train.step import init_state, make_train_step


@pytest.fixture(autouse=True)
def _flax_may_broadcast():
    """Spectral norms of flax promote ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


def points_task(**options) -> GAN:
    model = create("mlp_gan", num_classes=3, hidden=(8,), **options.pop("model", {}))
    return GAN(model, **options)


def points(count: int = 6) -> dict:
    rng = np.random.default_rng(0)
    image = rng.random((count, 1, 1, 2)).astype(np.float32)
    return {"image": jnp.asarray(image), "label": jnp.arange(count) % 3}


RNGS = {"noise": jax.random.key(7), "dropout": jax.random.key(8)}


@functools.cache
def small_dcgan() -> tuple[GAN, dict, dict]:
    task = GAN(create("dcgan", num_classes=3, image_size=16, channels=1, width=4, latent_dim=5))
    batch = {"image": jax.random.uniform(jax.random.key(1), (4, 16, 16, 1))}
    return task, batch, jax.jit(task.init)(jax.random.key(0), batch)


def slow_losses(task: GAN, batch: dict, rest: dict):
    """(discriminator's, generator's loss), each a function of its player's parameters alone.

    The game as its algorithm tells it, in separate steps, without stop_gradient.
    """
    terms, model = LOSSES[task.loss_name], task.model
    key, _ = jax.random.split(RNGS["noise"])
    latent = draw_latent(key, len(batch["image"]), model.latent_dim)

    def apply(params, state, method, *inputs):
        return model.apply(
            {"params": params, **state}, *inputs, None, train=True, mutable=list(rest),
            method=method,
        )  # fmt: skip

    def discriminator(mine, other):
        params = {"discriminator": mine, "generator": other}
        made, after = apply(params, rest, "generate", latent)
        real, after = apply(params, {**rest, **after}, "discriminate", 2 * batch["image"] - 1)
        fake, _ = apply(params, {**rest, **after}, "discriminate", made)
        return terms.real(real).mean() + terms.fake(fake).mean()

    def generator(mine, other):
        params = {"discriminator": other, "generator": mine}
        made, after = apply(params, rest, "generate", latent)
        fake, _ = apply(params, {**rest, **after}, "discriminate", made)
        return terms.generator(fake).mean()

    return discriminator, generator


@functools.cache
def dcgan_gradient():
    """(gradient of the loss, what the loss says besides), of one compiled program."""
    task, batch, variables = small_dcgan()
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def loss(params):
        return task.loss({"params": params, **rest}, batch, RNGS)

    return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])


def test_one_backward_pass_gives_each_player_the_gradient_of_its_own_loss():
    task, batch, variables = small_dcgan()
    params = variables["params"]
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    grads, info = dcgan_gradient()
    discriminator, generator = slow_losses(task, batch, rest)
    mine, other = params["discriminator"], params["generator"]
    loss_d, slow_d = jax.jit(jax.value_and_grad(discriminator))(mine, other)
    loss_g, slow_g = jax.jit(jax.value_and_grad(generator))(other, mine)
    metrics = info["metrics"]
    assert metrics["discriminator_loss"] == pytest.approx(float(loss_d), rel=1e-5)
    assert metrics["generator_loss"] == pytest.approx(float(loss_g), rel=1e-5)
    for found, slow in ((grads["discriminator"], slow_d), (grads["generator"], slow_g)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(slow), strict=True):
            assert np.abs(b).max() > 1e-5
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_statistics_of_both_players_are_returned_and_change():
    _, _, variables = small_dcgan()
    _, info = dcgan_gradient()
    old, new = variables["batch_stats"], info["mutated"]["batch_stats"]
    assert jax.tree.structure(old) == jax.tree.structure(new)
    assert {"generator", "discriminator"} <= set(new)
    assert all(np.any(a != b) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new)))


def test_padding_counts_in_neither_players_loss():
    task, batch = points_task(gradient_penalty=1.0), points()
    variables = task.init(jax.random.key(0), batch)
    loss = jax.jit(
        lambda image, valid: task.loss(variables, {"image": image, "valid": valid}, RNGS)[0]
    )
    image, valid = batch["image"], jnp.arange(6) < 4
    whole = loss(image, valid)
    assert loss(image.at[4:].set(9.0), valid) == whole
    assert loss(image, valid | True) != whole


def train(task: GAN, options: OptimOptions, steps: int) -> list[dict]:
    """Parameters before the first step and after each."""
    batch = points()
    shapes = jax.eval_shape(lambda: task.init(jax.random.key(0), batch))
    optimizer = make_optimizer(options, shapes["params"], total_steps=steps, steps_per_epoch=1)
    same = lambda *batch: batch[-1]  # noqa: E731
    state = init_state(task, optimizer, batch, seed=0, ema=False, eval_transform=same)
    step = jax.jit(make_train_step(task, optimizer, seed=0, train_transform=same, log_every=10))
    history = [state.params]
    for _ in range(steps):
        state, _ = step(state, batch)
        history.append(state.params)
    return history


def same_leaves(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)))


def test_discriminator_makes_k_steps_for_one_of_the_generators():
    options = OptimOptions(
        name="adam", lr=0.01, groups=(("generator/.*", {"every": 3}), (".*", {}))
    )
    history = train(points_task(), options, 6)
    moved = [
        {player: not same_leaves(before[player], after[player]) for player in before}
        for before, after in itertools.pairwise(history)
    ]
    assert [m["generator"] for m in moved] == [False, False, True, False, False, True]
    assert all(m["discriminator"] for m in moved)


@pytest.mark.parametrize("every", [1, 2])
def test_a_clipped_critic_stays_within_its_bounds_and_nobody_else_does(every):
    groups = (("discriminator/.*", {"clip_weights": 0.02, "every": every}), (".*", {}))
    options = OptimOptions(name="rmsprop", lr=1e-3, groups=groups)
    last = train(points_task(loss_name="wasserstein"), options, 2)[-1]
    for leaf in jax.tree.leaves(last["discriminator"]):
        assert np.abs(leaf).max() <= 0.02 * (1 + 1e-6)
    kernel = last["discriminator"]["hidden1"]["kernel"]
    assert np.abs(kernel).max() == pytest.approx(0.02)
    if every == 1:  # two steps: the second moved some inwards
        assert (np.abs(kernel) < 0.0199).any()
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(last["generator"])) > 0.1


@pytest.mark.parametrize("limit", [0, -1.0, "0.1", float("inf")])
def test_a_bound_that_is_none_is_refused(limit):
    options = OptimOptions(lr=0.1, groups=((".*", {"clip_weights": limit}),))
    with pytest.raises(ValueError, match="clip_weights: a finite number > 0"):
        make_optimizer(options, {"w": jnp.zeros(2)}, total_steps=1, steps_per_epoch=1)


def test_an_image_depends_on_its_number_and_not_on_how_many_are_drawn():
    task = points_task(model={"conditional": True})
    variables = task.init(jax.random.key(0), points())
    five, seven = (task.sample(variables, jax.random.key(3), n) for n in (5, 7))
    np.testing.assert_allclose(five["image"], seven["image"][:5], rtol=1e-6)
    np.testing.assert_array_equal(seven["label"], [0, 1, 2, 0, 1, 2, 0])
    assert np.unique(np.asarray(seven["image"][:, 0, 0, 0])).size == 7


def test_a_conditional_generator_and_its_discriminator_look_at_the_class():
    task, batch = points_task(model={"conditional": True}), points()
    variables = task.init(jax.random.key(0), batch)
    latent = jnp.ones((2, 2))
    made = task.generate(variables, latent, jnp.array([0, 2]))["image"]
    assert np.abs(made[0] - made[1]).max() > 1e-3
    other = {**batch, "label": (batch["label"] + 1) % 3}
    scores = [task.predict(variables, b)["real_score"] for b in (batch, other)]
    assert np.abs(scores[0] - scores[1]).min() > 1e-4
    with pytest.raises(ValueError, match="needs a label"):
        task.loss(variables, {"image": batch["image"]}, RNGS)


def test_a_row_of_interpolation_leads_from_one_sample_to_another():
    task = points_task()
    variables = task.init(jax.random.key(0), points())
    key = jax.random.key(5)
    rows = task.interpolation(variables, key, 16)["image"]
    assert rows.shape == (2, 8, 1, 1, 2)
    ends = task.sample(variables, key, 4)["image"]
    np.testing.assert_allclose(rows[:, 0], ends[:2], rtol=1e-5)
    np.testing.assert_allclose(rows[:, -1], ends[2:], rtol=1e-5)


@pytest.mark.parametrize("name", ["mlp_gan", "dcgan", "sngan"])
def test_half_precision_computes_and_float32_is_kept(name):
    size = {} if name == "mlp_gan" else {"image_size": 16, "channels": 1, "width": 2}
    task = GAN(create(name, num_classes=3, dtype="bfloat16", **size), gradient_penalty=0.0)
    batch = {"image": jnp.zeros((2, *task.model.image_shape))}
    variables = jax.eval_shape(lambda: task.init(jax.random.key(0), batch))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    loss, info = jax.eval_shape(task.loss, variables, batch, RNGS)
    assert loss.dtype == jnp.float32
    assert {x.dtype for x in info["metrics"].values()} == {jnp.dtype("float32")}
    image = jax.eval_shape(lambda v: task.sample(v, jax.random.key(0), 2)["image"], variables)
    assert image.dtype == jnp.float32
    jaxpr = str(jax.make_jaxpr(task.loss)(variables, batch, RNGS))
    assert "bf16" in jaxpr


def test_wrong_options_are_refused_all_at_once():
    model = create("dcgan", num_classes=3)
    with pytest.raises(ValueError) as error:
        GAN(model, loss_name="wgan", prior="gauss", gradient_penalty=10.0)
    for part in ("least_squares", "normal, uniform", "batch_norm=False"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="has no latent_dim"):
        GAN(create("lenet5", num_classes=3))


def test_images_of_another_size_are_told_before_training():
    class Info:
        name, image_shape, num_classes = "some[train]", (28, 28, 1), 10

    task = GAN(create("dcgan", num_classes=10, image_size=32, channels=1))
    with pytest.raises(ValueError, match=r"\(32, 32, 1\), but some\[train\] has \(28, 28, 1\)"):
        task.check(Info)


def test_bytes_are_refused():
    task = points_task()
    variables = task.init(jax.random.key(0), points())
    with pytest.raises(ValueError, match="uint8"):
        task.loss(variables, {"image": jnp.zeros((2, 1, 1, 2), jnp.uint8)}, RNGS)
