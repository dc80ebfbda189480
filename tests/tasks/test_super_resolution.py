"""SRResNet and SRGAN: small pictures, both losses, content networks, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cvjax.build import content
from cvjax.config import ConfigError
from cvjax.metrics.image_quality import ssim
from cvjax.models import create
from cvjax.tasks.super_resolution import CONTENT, ContentNetwork, SuperResolution

RNGS = {"noise": jax.random.key(7)}
FIELDS = {"width": 4, "blocks": 1}


def images(count: int = 3, size: int = 32) -> dict:
    return {"image": jax.random.uniform(jax.random.key(1), (count, size, size, 3))}


def srgan(**options) -> SuperResolution:
    model = create("srgan", discriminator_width=2, **FIELDS)
    return SuperResolution(model, **{"adversarial_weight": 1e-3, **options})


@functools.cache
def fresh():
    batch = images()
    return srgan(), jax.jit(srgan().init)(jax.random.key(0), batch), batch


def trained_output(task, variables, batch):
    @jax.jit
    def upscale(low):
        how = {"train": True, "method": "upscale", "mutable": ["batch_stats"]}
        return task.model.apply(variables, low, **how)[0]

    return np.asarray(upscale(task.reduced(batch["image"])))


def test_small_pictures_are_pillows_bicubic_ones():
    batch = images(1)
    found = SuperResolution(create("srresnet", **FIELDS)).reduced(batch["image"])
    for channel in range(3):
        large = Image.fromarray(np.asarray(batch["image"][0, ..., channel]), mode="F")
        expected = np.asarray(large.resize((8, 8), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(found[0, ..., channel], np.clip(expected, 0, 1), atol=1e-5)


@pytest.mark.slow  # three gradients to compile
def test_each_player_gets_its_share_of_the_loss():
    _, variables, batch = fresh()
    rest = {"batch_stats": variables["batch_stats"]}

    @jax.jit
    def gradients(params):
        def loss(params, content, adversarial):
            task = srgan(content_weight=content, adversarial_weight=adversarial)
            return task.loss({"params": params, **rest}, batch, RNGS)[0]

        return [jax.grad(loss)(params, *weights) for weights in ((1, 1e-3), (1, 1e-9), (0, 1))]

    both, content_alone, adversarial = gradients(variables["params"])
    leaves = [jax.tree.leaves(tree["generator"]) for tree in (both, content_alone, adversarial)]
    for total, one, other in zip(*leaves):
        np.testing.assert_allclose(total, one + 1e-3 * other, rtol=1e-3, atol=1e-7)
    assert max(np.abs(x).max() for x in leaves[2]) > 0
    for total, other in zip(*(jax.tree.leaves(t["discriminator"]) for t in (both, adversarial))):
        np.testing.assert_allclose(total, other, rtol=1e-4, atol=1e-7)


def test_the_loss_is_the_papers_sum():
    task, variables, batch = fresh()
    loss, info = jax.jit(task.loss)(variables, batch, RNGS)
    metrics = info["metrics"]
    error = trained_output(task, variables, batch) - (2 * np.asarray(batch["image"]) - 1)
    np.testing.assert_allclose(metrics["content_loss"], np.mean(error**2), rtol=1e-4)
    total = metrics["content_loss"] + 1e-3 * metrics["generator_loss"]
    np.testing.assert_allclose(loss, total + metrics["discriminator_loss"], rtol=1e-5)
    players = info["mutated"]["batch_stats"]
    assert set(players) == {"generator", "discriminator"}
    before = variables["batch_stats"]["discriminator"]["norm2"]["mean"]
    assert np.abs(players["discriminator"]["norm2"]["mean"] - before).max() > 0


def test_without_an_adversarial_weight_there_is_no_second_player():
    task, batch = SuperResolution(create("srresnet", **FIELDS)), images()
    variables = jax.eval_shape(task.init, jax.random.key(0), batch)
    assert set(variables["params"]) == {"generator"}
    _, info = jax.eval_shape(task.loss, variables, batch, RNGS)
    assert set(info["metrics"]) == {"loss", "content_loss"}


def look(variables, image):
    return variables["gain"] * image[:, ::4, ::4]


def test_content_is_the_features_error_and_the_network_stays_as_it_is():
    network = ContentNetwork({"gain": np.float32(3.0)}, look)
    task = SuperResolution(create("srresnet", **FIELDS), network, content="some")
    batch = images()
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    assert variables[CONTENT]["gain"] == 3
    assert CONTENT not in variables["params"]
    loss, info = jax.jit(task.loss)(variables, batch, RNGS)
    assert CONTENT not in info["mutated"]
    networks = {name: tree for name, tree in variables.items() if name != CONTENT}
    error = (trained_output(task, networks, batch) + 1) / 2 - np.asarray(batch["image"])
    np.testing.assert_allclose(loss, 9 * np.mean(error[:, ::4, ::4] ** 2), rtol=1e-4)
    assert jax.eval_shape(task.predict, variables, batch)["enlarged"].shape == (3, 32, 32, 3)


def test_figures_are_of_the_luminance_without_the_border():
    task, variables, batch = fresh()
    found = jax.device_get(jax.jit(task.predict)(variables, batch))
    shown = jax.device_get(jax.jit(task.enlarged)(variables, RNGS["noise"], batch)["image"])
    assert shown.shape == (3, 4, 32, 32, 3)
    np.testing.assert_array_equal(shown[:, 3], batch["image"])
    np.testing.assert_allclose(shown[:, 2], found["enlarged"], atol=1e-6)

    def y(image):  # ITU-R BT.601, as MATLAB's rgb2ycbcr
        return (16 + image @ np.array([65.481, 128.553, 24.966]))[:, 4:-4, 4:-4] / 255

    for name, column in (("psnr", 2), ("bicubic_psnr", 1)):
        error = np.mean((y(shown[:, column]) - y(shown[:, 3])) ** 2, axis=(1, 2))
        np.testing.assert_allclose(found[name], -10 * np.log10(error), rtol=1e-4)
        luminances = [jnp.float32(y(shown[:, i])[..., None]) for i in (column, 3)]
        similarity = found[name.replace("psnr", "ssim")]
        np.testing.assert_allclose(similarity, ssim(*luminances), rtol=1e-3, atol=1e-5)
    assert (found["bicubic_psnr"] > found["psnr"]).all()


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: srgan(adversarial_weight=0.0), ["SRGAN has a discriminator"]),
        (
            lambda: SuperResolution(create("srresnet"), adversarial_weight=0.1, border=-1),
            ["SRResNet has no discriminator", "task.border: got -1"],
        ),
        (lambda: srgan(content="some"), ["task.content='some': its network is missing"]),
        (lambda: srgan(loss_name="wgan"), ["expected one of minimax"]),
        (
            lambda: SuperResolution(create("lenet5", num_classes=3)),
            ["LeNet5 enlarges nothing; use srresnet or srgan"],
        ),
    ],
)
def test_wrong_options_are_refused(make, parts):
    with pytest.raises(ValueError) as error:
        make()
    for part in parts:
        assert part in str(error.value)


def test_sizes_that_the_factor_does_not_divide_are_told_before_training():
    class Info:
        name, image_shape = "some[train]", (30, 32, 1)

    with pytest.raises(ValueError, match=r"model.channels is 3(.|\n)*does not divide .*30x32"):
        srgan().check(Info)


SECTION = {
    "content": "fetch:squeezenet1_1",
    "content_model": "vgg19",
    "content_feature": "stride4",
}


def test_a_content_network_is_the_fetched_one_behind_its_own_preprocessing(monkeypatch):
    model = create("squeezenet1_1", num_classes=7)
    image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3))
    whole = jax.jit(lambda: model.init(jax.random.key(1), image, train=False))()
    monkeypatch.setattr(content, "variables_at", lambda origin, name: whole)
    network = content.content_network_of(SuperResolution, SECTION)["content_network"]
    assert "head" not in network.variables["params"]
    assert {*network.variables["params"], "head"} == set(whole["params"])
    caffe = 255 * image - np.array([123.68, 116.779, 103.939], np.float32)[None, None, None]
    expected = jax.jit(lambda: model.apply(whole, caffe, train=False)[1]["stride4"])()
    found = jax.jit(network.look)(network.variables, image)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": "fetch:squeezenet1"}, "Did you mean 'squeezenet1_1'"),
        ({"content": "vgg.pth"}, "a file of weights of task.content_model='vgg19'"),
        ({"content_feature": "pooled"}, "squeezenet1_1 has stride16, stride2, stride4, stride8"),
    ],
)
def test_a_content_that_is_none_is_told(change, message):
    with pytest.raises(ConfigError, match=message):
        content.content_network_of(SuperResolution, {**SECTION, **change})
