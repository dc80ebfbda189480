"""The arithmetic that a first course on deep computer vision prints, computed by this library.

Sizes come from running (or shape-evaluating) real convolutions, parameter counts from the models
as they would be initialised, multiplications from XLA's cost analysis of the lowered program,
first losses from the classification task. The formulas of `cvjax.ops.conv` are rows of their own:
how many cases are there in which formula and layer disagree?
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cvjax import models
from cvjax.ops import conv as arithmetic
from cvjax.ops.pool import max_pool
from cvjax.tasks.classification import Classification
from experiments.claim import Claim, Row

# The usual worked example: a 5x5 image of zeros and ones under a 3x3 cross of ones. Its answer is
# [[4, 3, 4], [2, 4, 3], [2, 3, 4]].
WORKED_IMAGE = ((1, 1, 1, 0, 0), (0, 1, 1, 1, 0), (0, 0, 1, 1, 1), (0, 0, 1, 1, 0), (0, 1, 1, 0, 0))
WORKED_FILTER = ((1, 0, 1), (0, 1, 0), (1, 0, 1))

GREY28 = (1, 28, 28, 1)
# VGG-16: output channels of its 3x3 convolutions, "pool" for a 2x2 max-pool.
VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool") + (512, 512, 512, "pool") * 2
# An Inception module's 5x5 branch on a 28x28x192 map: (map, window, channels in, channels out).
_DIRECT = (28, 5, 192, 32)
_REDUCE, _CONVOLVE = (28, 1, 192, 16), (28, 5, 16, 32)


def convolve(
    image: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Any = 0
) -> jax.Array:
    """`image` [B, H, W, C] under `kernel` [F, F, C, K], without flipping it (as layers do)."""
    if isinstance(padding, int):
        padding = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(
        image, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def output_shape(size: int, window: int, *, stride: int = 1, padding: Any = 0) -> tuple[int, int]:
    """Height and width after a convolution of a square map, by tracing the convolution."""
    image = jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32)
    kernel = jax.ShapeDtypeStruct((window, window, 1, 1), jnp.float32)
    shape = jax.eval_shape(
        lambda x, w: convolve(x, w, stride=stride, padding=padding), image, kernel
    ).shape
    return shape[1], shape[2]


def parameter_count(module: nn.Module, input_shape: Sequence[int], **call: Any) -> int:
    """How many parameters `module` has for such an input; nothing is allocated."""
    image = jax.ShapeDtypeStruct(tuple(input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **call), image)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def model_parameters(name: str, *path: str, num_classes: int | None = 10) -> int:
    """How many parameters a model has for 28x28 grey images, or its layer `path` has."""
    model = models.create(name, num_classes=num_classes)
    image = jax.ShapeDtypeStruct(GREY28, jnp.float32)
    tree = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)["params"]
    for part in path:
        tree = tree[part]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def multiplications(size: int, window: int, in_channels: int, out_channels: int) -> int:
    """Multiplications of a convolution that keeps a square map's size, by XLA's cost analysis.

    As usual, those with the zeros of the padding count too, so the map is padded beforehand.
    """
    padded = size + 2 * arithmetic.same_padding(window)
    image = jax.ShapeDtypeStruct((1, padded, padded, in_channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((window, window, in_channels, out_channels), jnp.float32)
    cost = jax.jit(convolve).lower(image, kernel).cost_analysis()
    return round(cost["flops"] / 2)  # a multiplication and an addition each


def multiplication_disagreements() -> int:
    """Convolutions for which H W F F C K differs from XLA's count."""
    return sum(
        arithmetic.conv_multiply_adds(size, size, window, channels, filters)
        != multiplications(size, window, channels, filters)
        for size, window, channels, filters in (_DIRECT, _REDUCE, _CONVOLVE, (7, 3, 5, 8))
    )


def worked_dot_product() -> int:
    """The first entry of the worked example's response."""
    return int(_worked_response()[0, 0])


def worked_errors() -> int:
    """How many entries of the response differ from dot products of patches, taken by NumPy."""
    image, kernel = np.asarray(WORKED_IMAGE), np.asarray(WORKED_FILTER)
    slow = [[int((image[i : i + 3, j : j + 3] * kernel).sum()) for j in range(3)] for i in range(3)]
    return int((_worked_response() != np.asarray(slow)).sum())


def formula_disagreements() -> int:
    """Cases of size, window 1-7, stride 1-4 and padding 0-3 in which formula and layer differ.

    The formula is (N + 2P - F) / s + 1, rounded down where the stride does not fit.
    """
    wrong = 0
    for size, window, stride, padding in itertools.product(
        (1, 5, 7, 8, 16, 28, 31, 32), range(1, 8), range(1, 5), range(4)
    ):
        if size + 2 * padding < window:
            continue
        real = output_shape(size, window, stride=stride, padding=padding)[0]
        formula = arithmetic.output_size(size, window=window, stride=stride, padding=padding)
        wrong += not real == formula == (size + 2 * padding - window) // stride + 1
    return wrong


def same_padding_disagreements() -> int:
    """Odd windows 1-11 for which padding by (F - 1) / 2 fails to keep a 28x28 map's size."""
    return sum(
        output_shape(28, window, padding=arithmetic.same_padding(window)) != (28, 28)
        or arithmetic.same_padding(window) != (window - 1) / 2
        for window in range(1, 12, 2)
    )


def parameter_disagreements() -> int:
    """Layers whose real parameters differ from F F C K + K, (in + 1) out, or 0."""
    wrong = 0
    for window, channels, filters in itertools.product((1, 3, 5), (1, 3, 32), (8, 64)):
        layer = nn.Conv(filters, (window, window))
        real = parameter_count(layer, (1, 8, 8, channels))
        formula = arithmetic.conv_parameters(window, channels, filters)
        wrong += not real == formula == window * window * channels * filters + filters
    for features, outputs in itertools.product((1, 784, 3136), (1, 10, 128)):
        real = parameter_count(nn.Dense(outputs), (1, features))
        formula = arithmetic.dense_parameters(features, outputs)
        wrong += not real == formula == (features + 1) * outputs
    pool_and_flatten = nn.Sequential([lambda x: max_pool(x, window=2), lambda x: x.reshape(1, -1)])
    image = jax.ShapeDtypeStruct(GREY28, jnp.float32)
    variables = jax.eval_shape(lambda x: pool_and_flatten.init(jax.random.key(0), x), image)
    return wrong + len(jax.tree.leaves(variables))


def conv_then_pool_sizes() -> tuple[int, ...]:
    """The sizes of a 28x28 map, before and after a 3x3 convolution and a 2x2 max-pool."""
    image = jnp.zeros(GREY28)
    convolved = convolve(image, jnp.zeros((3, 3, 1, 32)))
    return image.shape[1], convolved.shape[1], max_pool(convolved, window=2).shape[1]


def response_map() -> tuple[int, ...]:
    """The shape that 32 filters of 3x3 make of a 28x28x1 image."""
    layer = nn.Conv(32, (3, 3), padding=0)
    image = jax.ShapeDtypeStruct(GREY28, jnp.float32)
    output, _ = jax.eval_shape(lambda x: layer.init_with_output(jax.random.key(0), x), image)
    return output.shape[1:]


def no_max_pool_features() -> int:
    """How many values the model without pooling hands to its dense layers."""
    model = models.create("no_max_pool_cnn", num_classes=None)
    image = jax.ShapeDtypeStruct(GREY28, jnp.float32)
    _, features = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    return features["pooled"].shape[1]


def seen_pixels(responses: Callable[[jax.Array], jax.Array], size: int) -> tuple[int, int]:
    """Height and width of the input region that a unit in the middle of a map depends on.

    Read from the gradient of that unit; `responses` maps [1, size, size, 1] to [1, H, W, K] and
    must have positive weights only, so that nothing cancels and no ReLU is shut.
    """

    def unit(image: jax.Array) -> jax.Array:
        found = responses(image)
        return found[0, found.shape[1] // 2, found.shape[2] // 2, 0]

    seen = np.asarray(jax.jit(jax.grad(unit))(jnp.ones((1, size, size, 1))))[0, :, :, 0] != 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def third_layer_sees() -> tuple[int, int]:
    """The region that the third layer of the model without pooling sees."""
    model = models.create("no_max_pool_cnn", num_classes=None, channels=(2, 2, 2))
    shapes = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros(GREY28)
    )
    positive = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), shapes)
    return seen_pixels(lambda x: model.apply(positive, x, train=False)[1]["stride1"], 28)


def stack_sees(windows: Sequence[int]) -> tuple[int, int]:
    """The region that a stack of plain convolutions of ones sees."""

    def responses(image: jax.Array) -> jax.Array:
        for window in windows:
            image = convolve(image, jnp.ones((window, window, 1, 1)))
        return image

    return seen_pixels(responses, 15)


def stack_formula_sees(windows: Sequence[int]) -> int:
    """The same by the receptive-field formula."""
    return arithmetic.receptive_field([arithmetic.Sliding(window) for window in windows]).size


def stack_parameters(windows: Sequence[int], *, channels: int) -> float:
    """Weights of a stack of convolutions of C channels into C, without biases, in units of C^2."""
    layers = [nn.Conv(channels, (window, window), use_bias=False) for window in windows]
    return parameter_count(nn.Sequential(layers), (1, 15, 15, channels)) / channels**2


def pointwise_shape() -> tuple[int, ...]:
    """What a 1x1 convolution with 32 filters makes of a 28x28x192 map."""
    image = jax.ShapeDtypeStruct((1, 28, 28, 192), jnp.float32)
    kernel = jax.ShapeDtypeStruct((1, 1, 192, 32), jnp.float32)
    return jax.eval_shape(convolve, image, kernel).shape[1:]


def pointwise_against_dense() -> float:
    """The largest difference between a 1x1 convolution and a dense layer on every pixel.

    Small integers, so that float32 sums are exact in any order.
    """
    rng = np.random.default_rng(0)
    image = rng.integers(-8, 9, (1, 28, 28, 192)).astype(np.float32)
    weights = rng.integers(-8, 9, (192, 32)).astype(np.float32)
    convolved = convolve(jnp.asarray(image), jnp.asarray(weights)[None, None])
    dense = image.reshape(-1, 192) @ weights
    return float(np.abs(np.asarray(convolved).reshape(-1, 32) - dense).max())


def separable_parameters() -> int:
    """Weights of a depthwise 3x3 and a pointwise 1x1 convolution, 256 channels into 256."""
    depthwise = nn.Conv(256, (3, 3), feature_group_count=256, use_bias=False)
    pointwise = nn.Conv(256, (1, 1), use_bias=False)
    return parameter_count(nn.Sequential([depthwise, pointwise]), (1, 8, 8, 256))


def plain_parameters() -> int:
    """Weights of the plain 3x3 convolution that it stands for."""
    return parameter_count(nn.Conv(256, (3, 3), use_bias=False), (1, 8, 8, 256))


def vgg16_parameters() -> tuple[int, int]:
    """Parameters of VGG-16's convolutions and of its three dense layers, in that order."""
    layers: list[Any] = []
    for entry in VGG16:
        pool = entry == "pool"
        layers.append((lambda x: max_pool(x, window=2)) if pool else nn.Conv(entry, (3, 3)))
    body = nn.Sequential(layers)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    last_map, _ = jax.eval_shape(lambda x: body.init_with_output(jax.random.key(0), x), image)
    head = nn.Sequential([nn.Dense(width) for width in (4096, 4096, 1000)])
    dense = parameter_count(head, (1, math.prod(last_map.shape)))
    return parameter_count(body, image.shape), dense


def first_loss(loss_name: str, *, weight_std: float = 0.0, num_classes: int = 10) -> float:
    """The task's loss of the linear classifier on noise images, before any step."""
    task = Classification(models.create("linear", num_classes=num_classes), loss_name=loss_name)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.uniform(size=(64, 28, 28, 1)).astype(np.float32),
        "label": rng.integers(0, num_classes, 64).astype(np.int32),
    }
    variables = _random_variables(task, batch, rng, weight_std)
    return float(jax.jit(lambda v, b: task.loss(v, b)[0])(variables, batch))


def probability_sum() -> float:
    """The sum of the ten probabilities that the softmax task predicts, farthest from 1 of 64."""
    task = Classification(models.create("linear", num_classes=10))
    rng = np.random.default_rng(0)
    batch = {"image": rng.uniform(size=(64, 28, 28, 1)).astype(np.float32)}
    predicted = jax.jit(task.predict)(_random_variables(task, batch, rng, 1.0), batch)
    sums = np.asarray(predicted["probability"], np.float64).sum(axis=1)
    return float(sums[np.argmax(np.abs(sums - 1))])


def _random_variables(
    task: Classification, batch: dict[str, Any], rng: np.random.Generator, std: float
) -> Any:
    shapes = jax.eval_shape(lambda b: task.init(jax.random.key(0), b), batch)
    return jax.tree.map(lambda leaf: np.float32(std * rng.normal(size=leaf.shape)), shapes)


def _worked_response() -> np.ndarray:
    image = jnp.asarray(WORKED_IMAGE, jnp.float32)[None, :, :, None]
    kernel = jnp.asarray(WORKED_FILTER, jnp.float32)[:, :, None, None]
    return np.asarray(convolve(image, kernel))[0, :, :, 0]


def _patches(size: int, window: int, **options: Any) -> int:
    return math.prod(output_shape(size, window, **options))


CLAIM = Claim(
    statement="The arithmetic of convolutional networks that the course prints is right",
    source="Course: convolution mechanics, Inception's cost, first losses",
    rows=(
        Row("worked dot product, 3x3 filter on the first patch", 4, worked_dot_product),
        Row("worked example: entries that differ from NumPy's dot products", 0, worked_errors),
        Row("(N + 2P - F) / s + 1: cases that real layers contradict", 0, formula_disagreements),
        Row(
            "padding by (F - 1) / 2 keeps the size: odd windows that do not",
            0,
            same_padding_disagreements,
        ),
        Row("5x5 map, 3x3 window: output", (3, 3), lambda: output_shape(5, 3)),
        Row("5x5 map, 3x3 window: patches", 9, lambda: _patches(5, 3)),
        Row("5x5 map, 3x3 window, same padding: patches", 25, lambda: _patches(5, 3, padding=1)),
        Row("5x5 map, 3x3 window, stride 2: patches", 4, lambda: _patches(5, 3, stride=2)),
        Row("28x28 image, 3x3 convolution, 2x2 pool: sizes", (28, 26, 13), conv_then_pool_sizes),
        Row("28x28x1 image, 32 filters of 3x3: response map", (26, 26, 32), response_map),
        Row(
            "F F C K + K, (in + 1) out, 0 for pooling: layers that differ",
            0,
            parameter_disagreements,
        ),
        *(
            Row(
                f"model without max-pool: parameters of conv{index}",
                count,
                lambda index=index: model_parameters("no_max_pool_cnn", f"conv{index}"),
            )
            for index, count in ((1, 320), (2, 18_496), (3, 36_928))
        ),
        Row(
            "model without max-pool: parameters without the head",
            55_744,
            lambda: model_parameters("no_max_pool_cnn", num_classes=None),
        ),
        Row("model without max-pool: values before the head", 30_976, no_max_pool_features),
        Row(
            "model without max-pool: parameters of Dense(512)",
            15.86,
            lambda: model_parameters("no_max_pool_cnn", "hidden") / 1e6,
            tolerance=0.005,
            unit="million",
        ),
        Row("model without max-pool: what its third layer sees", (7, 7), third_layer_sees),
        Row("small CNN: parameters", 421_642, lambda: model_parameters("small_cnn")),
        Row("three 3x3 convolutions see", (7, 7), lambda: stack_sees((3, 3, 3))),
        Row("one 7x7 convolution sees", (7, 7), lambda: stack_sees((7,))),
        Row("three 3x3 convolutions see, by formula", 7, lambda: stack_formula_sees((3, 3, 3))),
        Row(
            "three 3x3 convolutions: weights / C^2",
            27,
            lambda: stack_parameters((3, 3, 3), channels=64),
        ),
        Row("one 7x7 convolution: weights / C^2", 49, lambda: stack_parameters((7,), channels=64)),
        Row("28x28x192 under 32 filters of 1x1: output", (28, 28, 32), pointwise_shape),
        Row(
            "28x28x192 under 32 filters of 1x1: multiplications",
            4.82,
            lambda: multiplications(28, 1, 192, 32) / 1e6,
            tolerance=0.005,
            unit="million",
        ),
        Row(
            "multiplications H W F F C K: convolutions that differ", 0, multiplication_disagreements
        ),
        Row("1x1 convolution minus a dense layer per pixel", 0, pointwise_against_dense),
        Row("3x3, 256 to 256 channels: weights", 589_824, plain_parameters),
        Row("the same, depthwise separable: weights", 67_840, separable_parameters),
        Row(
            "the same: how many times fewer",
            8.7,
            lambda: plain_parameters() / separable_parameters(),
            tolerance=0.05,
        ),
        Row(
            "Inception, 5x5 on 28x28x192 directly: multiplications",
            120_422_400,
            lambda: multiplications(*_DIRECT),
        ),
        Row(
            "Inception, 1x1 to 16 channels: multiplications",
            2_408_448,
            lambda: multiplications(*_REDUCE),
        ),
        Row(
            "Inception, then 5x5: multiplications", 10_035_200, lambda: multiplications(*_CONVOLVE)
        ),
        Row(
            "Inception, bottleneck in all: multiplications",
            12_443_648,
            lambda: multiplications(*_REDUCE) + multiplications(*_CONVOLVE),
        ),
        Row(
            "Inception, bottleneck: how many times fewer",
            9.7,
            lambda: (
                multiplications(*_DIRECT)
                / (multiplications(*_REDUCE) + multiplications(*_CONVOLVE))
            ),
            tolerance=0.05,
        ),
        Row("VGG-16: parameters", 138_357_544, lambda: sum(vgg16_parameters())),
        Row(
            "VGG-16: parameters of the dense layers",
            123.6,
            lambda: vgg16_parameters()[1] / 1e6,
            tolerance=0.05,
            unit="million",
        ),
        Row(
            "softmax, 10 classes, zero weights: first loss (ln 10)",
            2.3026,
            lambda: first_loss("softmax"),
            tolerance=5e-5,
        ),
        Row(
            "softmax, 10 classes, weights N(0, 0.001): first loss",
            2.3026,
            lambda: first_loss("softmax", weight_std=1e-3),
            tolerance=5e-3,
        ),
        Row(
            "softmax, 1,000 classes: first loss (ln 1000)",
            6.9078,
            lambda: first_loss("softmax", num_classes=1000),
            tolerance=5e-5,
        ),
        Row("softmax: sum of the probabilities", 1, probability_sum, tolerance=1e-6),
        Row("hinge, 10 classes, zero weights: first loss", 9, lambda: first_loss("hinge")),
        Row(
            "squared hinge, 10 classes, zero weights: first loss",
            9,
            lambda: first_loss("squared_hinge"),
        ),
        Row(
            "hinge, 10 classes, weights N(0, 0.001): first loss",
            9,
            lambda: first_loss("hinge", weight_std=1e-3),
            tolerance=0.05,
        ),
    ),
)
