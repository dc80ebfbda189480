import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.image.augment import (
    AUGMENTATIONS,
    augment_image,
    draw_matrix,
    eval_transform,
    example_keys,
    train_transform,
)
from cvjax.image.normalize import to_float
from cvjax.image.warp import warp

B, H, W = 6, 10, 12
IMAGES = np.random.default_rng(0).integers(0, 256, (B, H, W, 3), dtype=np.uint8)
BATCH = {"image": IMAGES, "label": np.arange(B, dtype=np.int32)}
FLOATS = jax.jit(to_float)(IMAGES)  # compiled, a GPU multiplies by 1 / 255: other last bits
KEY = jax.random.key(7)
# The last two need boxes, or go without a label.
OTHERS = ("image_data_generator", "color_jitter", "mosaic", "iou_crop")
EVERYTHING = {name: {} for name in AUGMENTATIONS if name not in OTHERS} | {
    "color_jitter": dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "resample": dict(fill="reflect"),
}


@functools.cache
def transform_of_everything():
    return jax.jit(train_transform(EVERYTHING, mean=0.5, std=0.25))


def train(augment, batch=BATCH, *, key=KEY, **statistics):
    return jax.jit(train_transform(augment, **statistics))(key, batch)


def test_evaluation_only_scales_and_normalises():
    result = eval_transform(mean=(0.1, 0.2, 0.3), std=0.5)(BATCH)
    expected = (IMAGES / 255 - np.array([0.1, 0.2, 0.3])) / 0.5
    np.testing.assert_allclose(result["image"], expected, atol=1e-6)
    assert result["label"] is BATCH["label"]


def test_training_without_augmentation_equals_evaluation():
    trained = train({}, mean=0.4, std=(0.5, 0.6, 0.7))
    evaluated = jax.jit(eval_transform(mean=0.4, std=(0.5, 0.6, 0.7)))(BATCH)
    np.testing.assert_array_equal(trained["image"], evaluated["image"])


def test_every_augmentation_at_once_keeps_shapes_and_gives_finite_floats():
    result = transform_of_everything()(KEY, BATCH)
    assert result["image"].shape == IMAGES.shape
    assert result["image"].dtype == jnp.float32
    assert np.isfinite(result["image"]).all()
    assert result["mix_weight"].dtype == jnp.float32
    assert ((result["mix_weight"] >= 0) & (result["mix_weight"] <= 1)).all()


def test_a_key_gives_the_same_pictures_every_time_and_another_key_gives_others():
    transform = transform_of_everything()
    first, again = transform(KEY, BATCH), transform(KEY, BATCH)
    other = transform(jax.random.key(8), BATCH)
    np.testing.assert_array_equal(first["image"], again["image"])
    assert (np.abs(first["image"] - other["image"]).max(axis=(1, 2, 3)) > 0.01).all()


def test_a_picture_is_never_the_same_twice():
    transform = jax.jit(train_transform(dict(rotate={}, translate=dict(whole_pixels=False))))
    batch = {"image": np.repeat(IMAGES[:1], 64, axis=0)}
    draws = [np.asarray(transform(jax.random.key(i), batch)["image"]) for i in range(4)]
    assert len({picture.tobytes() for picture in np.concatenate(draws)}) == 4 * 64


def test_an_example_depends_on_its_own_place_and_pixels_alone():
    augment = dict(rotate={}, color_shift={})
    whole = train(augment)["image"]
    alone = jax.jit(lambda key, image: augment_image(key, image, augment))
    for i in (0, 4):
        expected = alone(jax.random.fold_in(KEY, i), IMAGES[i])
        np.testing.assert_allclose(whole[i], expected, atol=1e-5)


def test_a_larger_batch_begins_with_the_same_draws():
    keys = jax.random.key_data(example_keys(KEY, 8))
    np.testing.assert_array_equal(keys[:5], jax.random.key_data(example_keys(KEY, 5)))


def test_leaving_one_augmentation_out_does_not_change_the_others_draws():
    alone = draw_matrix(KEY, (H, W), dict(rotate={}))
    together = draw_matrix(KEY, (H, W), dict(rotate={}, horizontal_flip=dict(p=0.0), cutout={}))
    np.testing.assert_array_equal(alone, together)


def test_the_order_in_which_they_are_named_does_not_matter():
    backwards = dict(reversed(EVERYTHING.items()))
    programs = [jax.make_jaxpr(train_transform(a))(KEY, BATCH) for a in (EVERYTHING, backwards)]
    assert str(programs[0]) == str(programs[1])


def test_movements_are_applied_by_one_resampling():
    augment = dict(rotate={}, shear={}, horizontal_flip={}, resample=dict(fill="nearest"))

    @jax.jit
    def both(key):
        matrix = draw_matrix(key, (H, W), augment)
        return augment_image(key, FLOATS[0], augment), warp(FLOATS[0], matrix, fill="nearest")

    result, expected = both(KEY)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_flips_crops_and_whole_shifts_copy_pixels_exactly():
    augment = dict(horizontal_flip={}, vertical_flip={}, random_crop={}, translate={})
    results = np.asarray(train(augment)["image"])
    for result, image in zip(results, np.asarray(FLOATS)):
        known = {tuple(pixel) for pixel in image.reshape(-1, 3)} | {(0.0, 0.0, 0.0)}
        assert {tuple(pixel) for pixel in result.reshape(-1, 3)} <= known


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_a_certain_flip_is_numpys(name, axis):
    result = train({name: dict(p=1.0)})["image"]
    np.testing.assert_array_equal(result, np.flip(np.asarray(FLOATS), axis=axis))


def test_probability_zero_changes_nothing():
    never = dict(p=0.0)
    augment = dict(rotate=never, horizontal_flip=never, color_shift=never, cutout=never)
    np.testing.assert_allclose(train(augment)["image"], FLOATS, rtol=1e-6)


def test_p_is_the_share_of_examples_that_are_changed():
    batch = {"image": np.full((400, 2, 2, 1), 128, np.uint8)}
    result = train(dict(color_shift=dict(p=0.3)), batch)["image"]
    changed = (np.asarray(result) != np.float32(128 / 255)).any(axis=(1, 2, 3)).mean()
    assert abs(changed - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 400)


def test_cutout_comes_after_normalisation_so_that_zero_is_the_mean_colour():
    result = train(dict(cutout=dict(size=4)), mean=0.4, std=0.2)["image"]
    holes = (np.asarray(result) == 0).all(axis=-1).sum(axis=(1, 2))
    assert ((holes >= 4) & (holes <= 16)).all()


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_takes_the_example_before_and_its_label(name):
    batch = {
        "image": np.broadcast_to(
            np.arange(0, 10 * B, 10, dtype=np.uint8)[:, None, None, None], (B, H, W, 1)
        ),
        "label": np.arange(B, dtype=np.int32),
    }
    result = train({name: dict(alpha=1.0)}, batch)
    own = np.arange(B) * 10 / 255
    other, weight = np.roll(own, 1), np.asarray(result["mix_weight"])
    np.testing.assert_array_equal(result["mixed_label"], np.roll(np.arange(B), 1))
    np.testing.assert_array_equal(result["label"], np.arange(B))
    means = np.asarray(result["image"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, (1 - weight) * own + weight * other, atol=1e-6)
    assert len(set(weight)) > 1  # each pair its own weight


def test_with_both_mixings_each_example_gets_either():
    images = np.zeros((200, 8, 8, 1), np.uint8)
    images[::2] = 255
    batch = {"image": images, "label": np.zeros(200, np.int32)}
    augment = dict(mixup=dict(alpha=1.0), cutmix=dict(alpha=1.0))
    result = np.asarray(train(augment, batch)["image"])
    mixed_up = ((result > 0) & (result < 1)).all(axis=(1, 2, 3)).mean()
    assert abs(mixed_up - 0.5) < 5 * 0.5 / np.sqrt(200)


def test_mixing_with_probability_zero_has_weight_zero():
    result = train(dict(mixup=dict(p=0.0)))
    np.testing.assert_array_equal(result["mix_weight"], 0)
    np.testing.assert_allclose(result["image"], FLOATS, rtol=1e-6)


def test_augmentation_is_differentiable_in_the_picture():
    augment = dict(rotate={}, color_shift={})
    gradient = jax.jit(jax.grad(lambda x: augment_image(KEY, x, augment).sum()))(FLOATS[0])
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


@pytest.mark.slow
def test_eight_devices_agree_with_one():
    augment = dict(rotate={}, salt_and_pepper={}, mixup={})
    program = textwrap.dedent(f"""
        import jax, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec
        from cvjax.image.augment import train_transform
        assert len(jax.devices()) == 8
        images = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 3), dtype=np.uint8)
        batch = dict(image=images, label=np.arange(16, dtype=np.int32))
        key = jax.random.key(3)
        mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
        split = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
        transform = jax.jit(train_transform({augment!r}, mean=0.5, std=0.25))
        one, eight = transform(key, batch), transform(key, split)
        assert len(eight["image"].sharding.device_set) == 8
        for name in ("mixed_label", "mix_weight", "image"):
            # The same draws to the bit; sums may be rounded in another order.
            np.testing.assert_allclose(eight[name], one[name], rtol=1e-5, atol=1e-5)
    """)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=240)


@pytest.mark.parametrize(
    ("augment", "messages"),
    [
        (dict(horizontal_flop={}), ["augment.horizontal_flop: unknown", "'horizontal_flip'"]),
        (dict(rotate=dict(degree=3)), ["augment.rotate.degree: unknown option", "'degrees'"]),
        (dict(rotate=dict(degrees=-3)), ["augment.rotate: degrees=-3 must be at least 0"]),
        (dict(rotate=dict(degrees="3")), ["augment.rotate: "]),
        (dict(noise=dict(p=2)), [r"augment.noise: p=2 must be in [0, 1]"]),
        (dict(cutout=16), ["augment.cutout=16 must be a dict"]),
        (dict(zoom={}, resample=dict(fill="zero")), ["augment.resample: fill='zero' is unknown"]),
        (dict(cutout={}, resample=dict(order=0)), ["augment.resample: no augmentation here"]),
        (
            dict(image_data_generator={}, rotate={}),
            ["image_data_generator moves and resamples alone", "['rotate']"],
        ),
        (
            dict(mixup=dict(alfa=1), zom={}),
            ["augment.mixup.alfa: unknown option. Did you mean 'alpha'?", "Did you mean 'zoom'?"],
        ),
    ],
)
def test_mistakes_are_named_together_before_any_batch(augment, messages):
    with pytest.raises(ValueError) as error:
        train_transform(augment)
    for message in messages:
        assert message in str(error.value)


def test_wrong_statistics_are_named_before_any_batch():
    with pytest.raises(ValueError, match=r"std=0\.0 must be positive"):
        train_transform({}, mean=(0.5, 0.5, 0.5), std=0.0)
    with pytest.raises(ValueError, match=r"mean=.* has 2 values for images of 3 channels"):
        eval_transform(mean=(0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_boxes_are_not_left_behind():
    batch = BATCH | {"boxes": np.zeros((B, 1, 4), np.float32)}
    with pytest.raises(ValueError, match=r"\['mixup'\] would leave \['boxes'\] .* behind"):
        train_transform(dict(mixup={}))(KEY, batch)
    jax.eval_shape(train_transform(dict(noise={})), KEY, batch)


def test_mixing_without_labels_is_an_error():
    with pytest.raises(ValueError, match="need batch\\['label'\\]"):
        train_transform(dict(mixup={}))(KEY, {"image": IMAGES})
