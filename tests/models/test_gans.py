"""Generators and discriminators: published sizes, DCGAN's rules, spectral norms that are ones."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create, list_models
from cvjax.nn.norm import BatchNorm
from cvjax.nn.up_conv import UpConv


@pytest.fixture(autouse=True)
def _flax_may_broadcast():
    """Spectral norms of flax promote ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


def shapes(model, batch=2):
    image = jax.ShapeDtypeStruct((batch, *model.image_shape), jnp.float32)
    latent = jax.ShapeDtypeStruct((batch, model.latent_dim), jnp.float32)
    label = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return jax.eval_shape(
        lambda *x: model.init_with_output(jax.random.key(0), *x, train=True), image, latent, label
    )


def fresh(model, image) -> dict:
    """Variables, by one compiled program: op by op takes seconds."""
    latent = jnp.zeros((len(image), model.latent_dim))
    return jax.jit(lambda x: model.init(jax.random.key(0), x, latent, train=True))(image)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_dcgan_has_the_parameters_of_pytorchs_example():
    """https://github.com/pytorch/examples/tree/main/dcgan at 64x64x3, 100 latent values."""
    _, variables = shapes(create("dcgan", num_classes=10))
    assert count(variables["params"]["generator"]) == 3_576_704
    assert count(variables["params"]["discriminator"]) == 2_765_568


def test_sngan_has_the_parameters_of_its_table():
    """Miyato et al. 2018, table 3, summed by hand: weights and biases of every layer."""
    _, variables = shapes(create("sngan", num_classes=10))
    discriminator = sum(
        side * side * a * b + b
        for side, a, b in [
            (3, 3, 64), (4, 64, 64), (3, 64, 128), (4, 128, 128), (3, 128, 256), (4, 256, 256),
            (3, 256, 512), (1, 4 * 4 * 512, 1),
        ]
    )  # fmt: skip
    assert count(variables["params"]["discriminator"]) == discriminator
    ups = [(512, 256), (256, 128), (128, 64)]
    generator = (128 + 1) * 4 * 4 * 512 + sum(16 * a * b + b + 2 * b for a, b in ups)
    assert count(variables["params"]["generator"]) == generator + 9 * 64 * 3 + 3


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("name", ["dcgan", "sngan"])
def test_images_and_scores_have_the_promised_shapes(name, size):
    if name == "sngan" and size == 28:
        with pytest.raises(ValueError, match="multiple of 8"):
            shapes(create(name, num_classes=10, image_size=size))
        return
    for conditional in (False, True):
        model = create(
            name, num_classes=10, image_size=size, channels=1, width=8, conditional=conditional
        )
        (made, scores), variables = shapes(model)
        assert made.shape == (2, size, size, 1)
        assert scores.shape == (2,)
        assert set(variables["params"]) == {"generator", "discriminator"}


@pytest.mark.parametrize("size", [4, 7, 30, 52])
def test_dcgan_refuses_a_size_that_no_doubling_leads_to(size):
    model = create("dcgan", num_classes=10, image_size=size)
    with pytest.raises(ValueError, match=rf"(?s)image_size={size}.*28, 32 or 64"):
        shapes(model)


def test_there_are_generators_to_check():
    assert {"dcgan", "mlp_gan", "sngan"} <= set(list_models(kind="generators"))


def calls_of(player: str) -> list[tuple[str, nn.Module, tuple, tuple]]:
    """(path, module, input shape, output shape) of every layer of one of DCGAN's players."""
    model, calls = create("dcgan", num_classes=10, image_size=32), []

    def record(next_method, args, kwargs, context):
        out = next_method(*args, **kwargs)
        path = "/".join(context.module.path)
        if context.method_name == "__call__" and path.startswith(f"{player}/"):
            calls.append((path.split("/")[-1], context.module, args[0].shape, out.shape))
        return out

    image, latent = jnp.zeros((2, *model.image_shape)), jnp.zeros((2, model.latent_dim))
    method, given = {"generator": ("generate", latent), "discriminator": ("discriminate", image)}[
        player
    ]
    with nn.intercept_methods(record):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=True, method=method), given)
    return calls


def test_dcgan_keeps_its_five_rules(monkeypatch):
    """Radford et al. 2016, "Architecture guidelines for stable Deep Convolutional GANs"."""
    used = {"generator": [], "discriminator": []}
    for player, found in used.items():
        for name in ("relu", "leaky_relu", "max_pool", "avg_pool"):
            original = getattr(nn, name)

            def spy(*args, original=original, name=name, found=found, **kwargs):
                found.append((name, args[1:]))
                return original(*args, **kwargs)

            monkeypatch.setattr(nn, name, spy)
        calls = calls_of(player)
        layers = [c for c in calls if not isinstance(c[1], BatchNorm)]
        norms = {c[0] for c in calls if isinstance(c[1], BatchNorm)}
        monkeypatch.undo()
        if player == "generator":
            # 1: what makes the map larger is a strided (transposed) convolution, nothing else.
            assert all(isinstance(c[1], UpConv) for c in layers[1:])
            assert all(c[3][1] == 2 * c[2][1] for c in layers[1:])
            # 2: a norm behind every layer but the last.
            assert len(norms) == len(layers) - 1
            # 3: the only matrix product is the latent vector's, straight into a map.
            assert isinstance(layers[0][1], nn.DenseGeneral)
            assert len(layers[0][3]) == 4
            # 4: ReLU everywhere; tanh bounds the images.
            assert {name for name, _ in used[player]} == {"relu"}
            assert len(used[player]) == len(norms)
        else:
            assert all(isinstance(c[1], nn.Conv) for c in layers)  # 1 and 3
            assert all(c[1].strides == (2, 2) for c in layers[:-1])
            assert layers[-1][3][1:3] == (1, 1)
            assert norms == {"norm2", "norm3"}  # 2: not on the input
            assert len(layers) == 4
            assert set(used[player]) == {("leaky_relu", (0.2,))}  # 5
            assert len(used[player]) == 3


def test_dcgan_begins_with_weights_of_the_papers_spread():
    model = create("dcgan", num_classes=10, image_size=28, channels=1)
    variables = fresh(model, jnp.zeros((2, 28, 28, 1)))
    weights = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
        if path[-1].key == "kernel" and leaf.size > 5_000
    ]
    assert len(weights) >= 4
    for leaf in weights:
        assert float(leaf.std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(leaf.mean())) < 1e-3


def test_images_are_within_tanhs_range_at_any_weights():
    model = create("dcgan", num_classes=10, image_size=16, channels=1, width=2, latent_dim=4)
    variables = model.init(
        jax.random.key(0), jnp.zeros((2, 16, 16, 1)), jnp.zeros((2, 4)), train=True
    )
    wild = jax.tree.map(lambda x: 50 * x, variables)
    made = model.apply(wild, jnp.ones((2, 4)), train=False, method="generate")
    assert 0.9 < np.abs(made).max() <= 1


def test_spectral_norm_finds_the_largest_singular_value():
    """Power iteration goes on over many passes; NumPy's SVD is the oracle, layer by layer."""
    model = create("sngan", num_classes=10, image_size=16, channels=1, width=2, latent_dim=4)
    image = jax.random.normal(jax.random.key(1), (1, 16, 16, 1))
    variables = fresh(model, image)

    @jax.jit
    def look(variables):
        return model.apply(
            variables, image, train=True, mutable=["batch_stats"], method="discriminate"
        )

    params = variables["params"]["discriminator"]
    for _ in range(150):
        _, mutated = look(variables)
        variables = {**variables, **mutated}
    stats = variables["batch_stats"]["discriminator"]
    layers = [name for name in params if name != "generator"]
    assert len(layers) == 8
    for layer in layers:
        kernel = np.asarray(params[layer]["kernel"], np.float64)
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        sigma = float(stats[f"{layer}_norm"][f"{layer}/kernel/sigma"])
        assert sigma == pytest.approx(largest, rel=2e-3), layer


@pytest.mark.slow
def test_spectral_norm_stands_still_in_evaluation():
    model = create("sngan", num_classes=10, image_size=16, channels=1, width=2, latent_dim=4)
    image = jax.random.normal(jax.random.key(1), (1, 16, 16, 1))
    variables = fresh(model, image)

    @jax.jit
    def look(variables):
        return model.apply(
            variables, image, train=False, mutable=["batch_stats"], method="discriminate"
        )

    _, mutated = look(variables)
    jax.tree.map(np.testing.assert_array_equal, mutated["batch_stats"], variables["batch_stats"])
