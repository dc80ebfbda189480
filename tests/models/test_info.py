"""Costs and receptive fields against reference models, published figures and hand counts."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import named_weights
import numpy as np
import pytest
from jax import lax

from cvjax.models import cost, create, info, list_models, published
from cvjax.models.__main__ import main
from cvjax.models.info import trace
from cvjax.models.reach import image_spans, middle, reach
from cvjax.ops import conv as arithmetic

# Reference models that are called otherwise here.
OURS = {
    "timm_legacy_xception": "xception",
    "timm_legacy_senet154": "senet154",
    "tv_swin_t__96x128": "swin_t",
}
GOLDENS = sorted(path.stem for path in named_weights.GOLDEN.glob("*.npz"))
info = functools.cache(info)


def golden_spec(golden):
    spec = json.loads(str(np.load(named_weights.GOLDEN / f"{golden}.npz")["spec"]))
    name = OURS.get(golden, re.sub("^(tv|timm)_", "", golden))
    if name not in list_models():
        pytest.skip(f"{name} is not here yet")
    # Both libraries' auxiliary classifiers run at the golden's size, and not at the default one.
    return name, spec, {"aux_heads": True} if "aux_logits=True" in spec["call"] else {}


def multiply_adds(model, shape):
    _, closed, _ = trace(model, shape)
    return sum(layer.multiply_adds for layer in cost.layers(closed.jaxpr))


def layers_of(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return cost.layers(jax.make_jaxpr(function)(*arguments).jaxpr)


def seen(function, size, axis=1):
    """First and last row that the middle of the result sees, of an image [1, size, size, 1]."""
    shape = (1, size, size, 1)
    jaxpr = jax.make_jaxpr(function)(jnp.zeros(shape)).jaxpr
    [spans] = reach(jaxpr, [image_spans(shape)])
    return middle(spans[axis - 1], axis)


def convolve(x, window, *, stride=1, padding=0, dilation=1):
    kernel = jnp.ones((window, window, 1, 1))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "golden",
    [pytest.param(g, marks=pytest.mark.slow if "nasnetalarge" in str(g) else ()) for g in GOLDENS],
)
def test_multiply_adds_are_the_reference_s_on_its_input(golden):
    name, spec, fields = golden_spec(golden)
    model = create(name, num_classes=1000, **fields)
    batch, channels, height, width = spec["input"]
    assert multiply_adds(model, (batch, height, width, channels)) == spec["macs"]


@pytest.mark.slow
@pytest.mark.parametrize("golden", GOLDENS)
def test_multiply_adds_are_the_reference_s_at_its_default_size(golden):
    name, spec, _ = golden_spec(golden)
    default = spec["macs_default"]
    found = info(name, default["shape"][-1])
    assert (found.multiply_adds, found.image_size) == (default["macs"], default["shape"][-1])


# timm's results/benchmark-infer-*.csv, in millions.
@pytest.mark.parametrize(
    ("name", "millions"), [("resnet50", 11.11), ("vgg16", 13.56), ("resnet18", 2.48)]
)
def test_activations_are_those_that_timm_publishes(name, millions):
    found = info(name)
    assert found.activations / 1e6 == pytest.approx(millions, abs=0.005)
    assert found.activation_bytes == 4 * found.activations


def test_parameters_and_publication_of_resnet50():
    found = info("resnet50")
    assert (found.parameters, found.image_size, found.top1) == (25_557_032, 224, 76.13)
    assert found.paper.year == 2015
    assert found.paper.link == "https://arxiv.org/abs/1512.03385"
    assert "torchvision" in found.top1_source


def test_a_model_that_nobody_published_is_unknown():
    found = info("small_cnn", num_classes=10)
    assert (found.parameters, found.top1, found.top1_source) == (421_642, None, "unknown")
    assert (found.paper, found.image_size, found.channels) == (None, 28, 1)


def test_no_head_costs_nothing():
    whole, backbone = info("resnet18"), info("resnet18", num_classes=None)
    assert whole.parameters - backbone.parameters == 513_000
    assert whole.multiply_adds - backbone.multiply_adds == 512_000


def test_most_of_vgg16_s_parameters_are_dense_and_most_of_its_activations_early():
    found = info("vgg16")
    dense = [layer for layer in found.layers if "stage" not in layer.name]
    weights = sum(layer.multiply_adds for layer in dense)  # one image: a multiply-add a weight
    assert weights + 4096 + 4096 + 1000 == 123_642_856
    assert 123_642_856 / found.parameters == pytest.approx(0.894, abs=5e-4)
    early = sum(layer.activations for layer in found.layers[:4])  # stages 1 and 2 of 5
    assert early > 0.7 * found.activations
    assert sum(layer.multiply_adds for layer in dense) < 0.01 * found.multiply_adds


def test_layers_are_named_by_their_modules():
    names = [layer.name for layer in info("resnet18").layers]
    assert names[0] == "ResNet/stem_conv"
    assert "ResNet/stage4_block2/conv2" in names
    assert names[-1] == "ResNet/head"


def test_products_are_counted_by_hand():
    [product] = layers_of(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (2, 3, 5), (2, 5, 7))
    assert (product.multiply_adds, product.activations) == (2 * 3 * 5 * 7, 2 * 3 * 7)
    [grouped] = layers_of(
        lambda x, w: lax.conv_general_dilated(
            x, w, (2, 2), "SAME", feature_group_count=4, dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        (1, 8, 8, 16),
        (3, 3, 4, 32),
    )
    assert grouped.activations == 4 * 4 * 32
    assert grouped.multiply_adds == arithmetic.conv_multiply_adds(4, 4, 3, 16, 32, groups=4)


def test_nested_programs_are_counted_as_often_as_they_run():
    shape = (4, 4)

    def product(x):
        return x @ x

    def looped(x):
        return lax.scan(lambda c, _: (c @ c, None), x, length=5)[0]

    def branched(x):
        return lax.cond(x[0, 0] > 0, lambda x: product(product(x)), jnp.sin, x)

    counts = {
        "jit": (jax.jit(product), 1),
        "remat": (jax.checkpoint(product), 1),
        "scan": (looped, 5),
        "cond": (branched, 2),
        "relu": (lambda x: jax.nn.relu(x) @ x, 1),
    }
    for name, (function, count) in counts.items():
        found = sum(layer.multiply_adds for layer in layers_of(function, shape))
        assert found == count * 4**3, name


@pytest.mark.parametrize("stack", [[(3, 1, 0, 1)] * 3, [(7, 2, 3, 1), (3, 2, 1, 1), (3, 1, 2, 2)]])
def test_reach_of_convolutions_is_the_formula_s(stack):
    def forward(x):
        for window, stride, padding, dilation in stack:
            x = convolve(x, window, stride=stride, padding=padding, dilation=dilation)
        return x

    formula = arithmetic.receptive_field(arithmetic.Sliding(*layer) for layer in stack)
    size = 96
    index = jax.eval_shape(forward, jnp.zeros((1, size, size, 1))).shape[1] // 2
    low = formula.start + index * formula.jump
    assert seen(forward, size) == (low, low + formula.size - 1)


def test_reach_follows_what_moves_pixels():
    def pooled(x):  # 2x2 max-pool as a reshape
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))

    middle_of_8 = {
        "reshape": (pooled, (4, 5)),
        "slice": (lambda x: x[:, 2:], (5, 5)),
        "stride": (lambda x: x[:, ::2], (4, 4)),
        "flip": (lambda x: x[:, ::-1], (3, 3)),
        "roll": (lambda x: jnp.roll(x, 1, axis=1), (3, 3)),
        "sum": (lambda x: x + jnp.roll(x, 1, axis=1), (3, 4)),
        "transpose": (lambda x: x.transpose(0, 2, 1, 3), None),  # along rows nothing varies
        "pool": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "VALID"),
                 (2, 4)),
        "channels": (lambda x: jnp.concatenate([x, convolve(x, 3, padding=1)], axis=-1), (3, 5)),
    }  # fmt: skip
    for name, (function, rows) in middle_of_8.items():
        assert seen(function, 8) == rows, name


def test_a_global_gate_makes_the_reach_the_whole_image():
    assert seen(lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)), 8) is None


def test_reach_is_the_support_of_the_gradient():
    def forward(x):
        y = convolve(x, 3, stride=2, padding=1)
        y = y + convolve(y, 3, padding=1)
        return convolve(y, 2, stride=2)

    def unit(x):
        y = forward(x)
        return y[0, y.shape[1] // 2, y.shape[2] // 2, 0]

    gradient = np.asarray(jax.grad(unit)(jnp.ones((1, 32, 32, 1))))[0, :, :, 0]
    rows = np.flatnonzero(gradient.any(axis=1))
    assert seen(forward, 32) == (rows[0], rows[-1])


# Araujo et al. 2019, "Computing receptive fields of convolutional neural networks"
# (https://distill.pub/2019/computing-receptive-fields), its table of known networks.
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("alexnet", 195),
        ("vgg16", 212),
        ("inception_v3", 1311),
        pytest.param("inception_v4", 2071, marks=pytest.mark.slow),
        pytest.param("inception_resnet_v2", 3039, marks=pytest.mark.slow),
    ],
)
def test_receptive_fields_are_the_published_ones(name, size):
    assert info(name).receptive_fields["stride32"].size == size


def test_receptive_fields_by_hand_and_in_small_images():
    fields = info("resnet18", 64).receptive_fields  # 2x2 units at stride 32
    assert fields == info("resnet18").receptive_fields
    assert (fields["stride2"].size, fields["stride2"].jump, fields["stride2"].start) == (7, 2, -3)
    assert fields["stride4"].size == 7 + 2 * 2 + 4 * 2 * 4  # stem, pool, four convolutions
    assert info("no_max_pool_cnn", num_classes=10).receptive_fields["stride1"].size == 7


def test_papers_and_results_are_those_of_models():
    assert set(published.RESULTS) <= set(list_models())
    without = {name for name in list_models() if published.paper(name) is None}
    of_the_course = {"coder_classifier", "fvbn", "localizer"}
    assert without == {"linear", "mlp", "no_max_pool_cnn", "small_cnn"} | of_the_course
    link = re.compile(r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\S+)")
    assert all(link.fullmatch(published.paper(n).link) for n in {*list_models()} - without)
    assert all(50 < result.top1 < 90 for result in published.RESULTS.values())


def test_a_model_of_another_kind_is_told():
    with pytest.raises(ValueError, match="dcgan is no classifier"):
        info("dcgan")


def test_the_table_leaves_other_kinds_out(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["models", "lenet5", "dcgan", "retinanet"])
    main()
    shown = capsys.readouterr().out
    assert "lenet5" in shown
    assert "dcgan" not in shown
    assert "retinanet" not in shown


def test_an_unknown_model_is_told():
    with pytest.raises(ValueError, match="Did you mean 'resnet50'"):
        info("resnet_50")
