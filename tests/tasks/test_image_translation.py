"""pix2pix and CycleGAN: gradients of each player, the pool's collection, and what is refused."""

import functools

import jax
import numpy as np
import pytest

from cvjax.models import create
from cvjax.ops.image_pool import empty_pool, exchange
from cvjax.tasks.image_translation import POOL, CycleGAN, Pix2Pix

GREY = np.array([0.299, 0.587, 0.114], np.float32)
RNGS = {"noise": jax.random.key(7), "dropout": jax.random.key(8)}


def images(count: int = 4, size: int = 16) -> dict:
    return {"image": jax.random.uniform(jax.random.key(1), (count, size, size, 3))}


def pix2pix(**options) -> Pix2Pix:
    fields = {"image_size": 16, "width": 2, "patch_layers": 1, "dropout": 0.0}
    return Pix2Pix(create("pix2pix", num_classes=3, **fields), **options)


@functools.cache
def fresh_pix2pix():
    """(task, variables, batch)."""
    task, batch = pix2pix(), images()
    return task, jax.jit(task.init)(jax.random.key(0), batch), batch


@pytest.mark.slow  # two gradients to compile
def test_the_l1_term_moves_the_generator_alone():
    _, variables, batch = fresh_pix2pix()
    rest = {"batch_stats": variables["batch_stats"]}

    @jax.jit
    def gradients(params):
        def loss(params, weight):
            task = pix2pix(l1_weight=weight)
            return task.loss({"params": params, **rest}, batch, RNGS)

        return [jax.grad(functools.partial(loss, weight=w), has_aux=True)(params) for w in (0, 100)]

    (plain, _), (pulled, info) = gradients(variables["params"])
    both = (jax.tree.leaves(tree["discriminator"]) for tree in (plain, pulled))
    for a, b in zip(*both):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        assert np.abs(a).max() > 0
    kernels = [tree["generator"]["image"]["kernel"] for tree in (plain, pulled)]
    assert np.abs(kernels[1] - kernels[0]).max() > 10 * np.abs(kernels[0]).max() > 0
    metrics = info["metrics"]
    total = metrics["discriminator_loss"] + metrics["generator_loss"] + 100 * metrics["l1"]
    assert metrics["loss"] == pytest.approx(float(total), rel=1e-5)


def test_a_translation_shows_condition_result_and_target():
    task, variables, batch = fresh_pix2pix()
    translation = jax.jit(task.translation)(variables, RNGS["noise"], batch)["image"]
    assert translation.shape == (4, 3, 16, 16, 3)
    np.testing.assert_array_equal(translation[:, 2], batch["image"])
    grey = batch["image"] @ GREY
    np.testing.assert_allclose(translation[:, 0, ..., 1], grey, atol=1e-5)
    assert translation.min() >= 0
    assert translation.max() <= 1


def test_predictions_error_is_that_of_numpy():
    task, variables, batch = fresh_pix2pix()
    found = jax.device_get(jax.jit(task.predict)(variables, batch))
    error = found["translated"] - np.asarray(batch["image"])
    np.testing.assert_allclose(found["l1"], np.abs(error).mean(axis=(1, 2, 3)), rtol=1e-5)
    psnr = [10 * np.log10(1 / np.mean(e**2)) for e in error]
    np.testing.assert_allclose(found["psnr"], psnr, rtol=1e-4)
    image = np.asarray(batch["image"])
    untouched = np.abs(image @ GREY - np.moveaxis(image, -1, 0)).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(found["condition_l1"], untouched, rtol=1e-5)


def test_label_maps_become_one_channel_a_class_and_255_none():
    task = pix2pix(condition="semantic", label_classes=3)
    label = np.array([[0, 1], [2, 255]], np.int32)[None]
    found = np.asarray(
        task.conditions(jax.random.key(0), {"image": images()["image"], "semantic": label})
    )
    expected = -np.ones((1, 2, 2, 3))
    for place, value in (((0, 0), 0), ((0, 1), 1), ((1, 0), 2)):
        expected[(0, *place, value)] = 1
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="targets="):
        task.conditions(jax.random.key(0), images())


def cycle_gan(**options) -> CycleGAN:
    fields = {"width": 2, "blocks": 1, "patch_layers": 1}
    return CycleGAN(create("cycle_gan", num_classes=3, **fields), **{"pool_size": 3, **options})


@functools.cache
def stepped_cycle_gan():
    """(task, variables, batch, loss' gradient and information) of one compiled program."""
    task, batch = cycle_gan(), images()
    variables = jax.jit(task.init)(jax.random.key(0), batch)

    @jax.jit
    def gradient(params):
        def loss(params):
            return task.loss({"params": params, POOL: variables[POOL]}, batch, RNGS)

        return jax.grad(loss, has_aux=True)(params)

    return task, variables, batch, gradient(variables["params"])


@pytest.mark.slow  # four networks to compile
def test_every_network_of_cycle_gan_gets_a_gradient():
    _, variables, _, (grads, info) = stepped_cycle_gan()
    for player, names in (("generator", ("to_a", "to_b")), ("discriminator", ("of_a", "of_b"))):
        for name in names:
            kernels = [x for x in jax.tree.leaves(grads[player][name]) if x.ndim == 4]
            assert kernels
            assert all(np.isfinite(x).all() and np.any(x) for x in kernels), name
    assert jax.tree.structure(info["mutated"][POOL]) == jax.tree.structure(variables[POOL])
    metrics = info["metrics"]
    total = metrics["discriminator_loss"] + metrics["generator_loss"]
    total += 10 * metrics["cycle_loss"] + 5 * metrics["identity_loss"]
    assert metrics["loss"] == pytest.approx(float(total), rel=1e-5)


@pytest.mark.slow
def test_cycle_gan_keeps_its_translations_in_the_pool():
    task, variables, batch, (_, info) = stepped_cycle_gan()
    pool = info["mutated"][POOL]
    assert pool["a"]["filled"] == pool["b"]["filled"] == 2
    key, _ = jax.random.split(RNGS["noise"])
    real = task.sets(key, batch)
    networks = {"params": variables["params"]}
    fake = jax.jit(lambda x: task.model.apply(networks, x, "b", train=True, method="translate"))
    np.testing.assert_allclose(pool["b"]["images"][:2], fake(real["a"]), rtol=1e-4, atol=1e-5)
    assert not np.any(pool["b"]["images"][2])


@pytest.mark.slow
def test_cycle_gans_errors_are_those_of_numpy():
    task, variables, batch, _ = stepped_cycle_gan()
    found = jax.device_get(jax.jit(task.predict)(variables, batch))
    shown = jax.device_get(jax.jit(task.translation)(variables, jax.random.key(0), batch))["image"]
    condition, there, image, back = np.moveaxis(shown, 1, 0)
    for name, answer in (("condition_l1", condition), ("l1", there), ("cycle_error", back)):
        error = np.abs(answer - image).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(found[name], error, rtol=1e-5, err_msg=name)
    assert found["condition_l1"].min() > 0.05


def test_the_two_sets_share_no_picture():
    batch = images()
    real = cycle_gan().sets(jax.random.key(0), batch)
    np.testing.assert_allclose(real["b"], 2 * batch["image"][2:] - 1, rtol=1e-6)
    grey = (batch["image"] @ GREY)[:2]
    np.testing.assert_allclose(real["a"][..., 0], 2 * grey - 1, atol=1e-5)
    with pytest.raises(ValueError, match="even"):
        cycle_gan().sets(jax.random.key(0), images(3))


def test_the_pool_is_the_papers_list_of_pictures():
    """A Python list by the same coins: filled, then exchanged one by one."""
    key, size = jax.random.key(3), 4
    stream = jax.random.normal(jax.random.key(0), (5, 6, 2, 2, 1))
    pool, stored, swaps = empty_pool(size, (2, 2, 1)), [], 0
    step = jax.jit(exchange)
    for i, batch in enumerate(stream):
        batch_key = jax.random.fold_in(key, i)
        shown, pool = step(pool, batch_key, batch)
        for j, image in enumerate(np.asarray(batch)):
            coin, place = jax.random.split(jax.random.fold_in(batch_key, j))
            if len(stored) < size:
                stored.append(image)
                expected = image
            elif jax.random.bernoulli(coin):
                where = int(jax.random.randint(place, (), 0, size))
                expected, stored[where] = stored[where], image
                swaps += 1
            else:
                expected = image
            np.testing.assert_array_equal(shown[j], expected)
    np.testing.assert_array_equal(pool["images"], np.stack(stored))
    assert 5 < swaps < 21


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: pix2pix(condition="semantik", l1_weight=-1.0), ("semantic", "l1_weight")),
        (lambda: pix2pix(condition="semantic"), ("label_classes: got 0",)),
        (lambda: pix2pix(label_classes=3), ("the others have none",)),
        (lambda: cycle_gan(condition="semantic", pool_size=0), ("expected one of", "pool_size")),
        (lambda: Pix2Pix(create("lenet5", num_classes=3)), ("use the model pix2pix",)),
        (lambda: CycleGAN(create("lenet5", num_classes=3)), ("use the model cycle_gan",)),
    ],
)
def test_wrong_options_are_refused(make, parts):
    with pytest.raises(ValueError) as error:
        make()
    for part in parts:
        assert part in str(error.value)
