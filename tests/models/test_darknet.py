import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from cvjax.models import create
from cvjax.ops.conv import conv_multiply_adds


def parameter_shapes(name):
    model = create(name, num_classes=1000)
    image = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return traverse_util.flatten_dict(variables["params"], sep="/")


@pytest.mark.parametrize(
    ("name", "parameters"), [("darknet19", 20_842_376), ("darknet53", 41_609_928)]
)
def test_parameters_are_counted(name, parameters):
    assert sum(x.size for x in parameter_shapes(name).values()) == parameters


@pytest.mark.parametrize(
    ("name", "size", "billions"),
    [("darknet19", 224, 5.58), ("darknet53", 256, 18.57)],  # YOLO9000, section 3.2; YOLOv3, table 2
)
def test_operations_are_the_papers(name, size, billions):
    shapes = parameter_shapes(name)
    total = shapes["head/kernel"].size
    if name == "darknet19":  # whose last convolution the paper counts at every pixel
        total *= (size // 32) ** 2
    for path, kernel in shapes.items():
        if path.endswith("conv/kernel"):
            stage = int(path.split("_")[0].removeprefix("stage")) if path[:5] == "stage" else 0
            side = size // 2 ** (stage - (name == "darknet19"))
            window, _, inputs, outputs = kernel.shape
            total += conv_multiply_adds(side, side, window, inputs, outputs)
    assert round(2 * total / 1e9, 2) == pytest.approx(billions, abs=0.02)


@pytest.mark.parametrize(("name", "layers"), [("darknet19", 19), ("darknet53", 53)])
def test_layers_are_as_many_as_the_name_says(name, layers):
    assert sum(path.endswith("kernel") for path in parameter_shapes(name)) == layers


def test_darknet19_has_the_layers_of_table_6():
    kernels = [s.shape for p, s in parameter_shapes("darknet19").items() if "conv/kernel" in p]
    assert [(k[0], k[3]) for k in kernels] == [
        (3, 32),
        (3, 64),
        *[(3, 128), (1, 64), (3, 128)],
        *[(3, 256), (1, 128), (3, 256)],
        *[(3, 512), (1, 256), (3, 512), (1, 256), (3, 512)],
        *[(3, 1024), (1, 512), (3, 1024), (1, 512), (3, 1024)],
    ]


@pytest.mark.parametrize("name", ["darknet19", "darknet53"])
def test_last_map_is_a_32nd_of_the_image(name):
    model = create(name, num_classes=1000)
    image = jax.ShapeDtypeStruct((1, 416, 416, 3), jnp.float32)
    _, features = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    assert {k: v.shape[1:] for k, v in features.items() if k != "pooled"} == {
        f"stride{2**i}": (416 // 2**i, 416 // 2**i, 32 * 2**i) for i in range(6)
    }


@functools.partial(jax.jit, static_argnums=0)
def features_of(model, variables, x):
    return model.apply(variables, x, train=False)[1]


def test_negative_values_are_kept_at_a_tenth():
    model = create("darknet19", num_classes=None, stage_sizes=(1,), width=4)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    leaky, straight = (
        features_of(model.clone(negative_slope=slope), variables, x)["stride1"]
        for slope in (0.1, 1.0)
    )
    want = jnp.where(straight > 0, straight, 0.1 * straight)
    np.testing.assert_allclose(leaky, want, rtol=1e-5)
    assert (straight < 0).any()


def test_block_without_its_last_norm_is_the_identity():
    model = create("darknet53", num_classes=None, stage_sizes=(2,), width=4)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()
    for block in ("stage1_block1", "stage1_block2"):
        norm = variables["params"][block]["conv2"]["norm"]
        norm["scale"] = jnp.zeros_like(norm["scale"])
    downsampled = features_of(model.clone(stage_sizes=(0,)), variables, x)["stride2"]
    np.testing.assert_array_equal(features_of(model, variables, x)["stride2"], downsampled)
