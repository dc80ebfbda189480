"""Rates that fall from layer to layer, in the order in which the network runs."""

import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create
from cvjax.models.cost import layers
from cvjax.train.layers import layers_from_top
from cvjax.train.optim import OptimOptions, make_optimizer
from cvjax.train.partition import parameter_paths

PATHS = ["head/kernel", "stage1_block2/conv/kernel", "stage1_block10/w", "stem_conv/kernel",
         "stem_norm/scale"]  # fmt: skip


def shapes_and_run(name: str):
    model = create(name, num_classes=10)
    size = getattr(model, "image_size", None) or 224
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    with jax.numpy_rank_promotion("allow"):
        run = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False)[0])(variables, image)
    return variables["params"], [layer.name for layer in layers(run.jaxpr)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "vgg16", "resnet18"])
def test_layers_are_in_the_order_in_which_the_network_runs(name):
    params, run = shapes_and_run(name)
    paths = parameter_paths(params)
    above, problems = layers_from_top(paths)
    assert problems == []
    modules = {path.partition("/")[0]: count for path, count in zip(paths, above)}
    seen = [next((m for m in call.split("/") if m in modules), None) for call in run]
    counts = [modules[module] for module in seen if module]
    assert len(set(counts)) == max(above) + 1  # no layer is without a product
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_numbers_count_as_numbers_and_a_norm_belongs_to_its_convolution():
    assert layers_from_top(PATHS) == ([0, 2, 1, 3, 3], [])


def test_an_order_of_ones_own_goes_first():
    assert layers_from_top(["b/w", "a/w"], order=("b/.*", "a/.*")) == ([1, 0], [])
    _, problems = layers_from_top(["b/w", "a/w"], order=("b/.*",))
    assert "no pattern matches parameter 'a/w'" in problems[0]


def test_names_without_a_known_place_ask_for_an_order():
    _, problems = layers_from_top(["head/w", "mystery/w"])
    assert "'mystery'" in problems[0]
    assert "optim.layer_order" in problems[0]


def optimizer(paths, **options):
    tree: dict = {}
    for path in paths:
        *folders, leaf = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = jnp.zeros(2)
    return make_optimizer(OptimOptions(**options), tree, total_steps=1, steps_per_epoch=1)


def test_every_rate_is_multiplied_once_a_layer():
    groups = (("stem_norm/.*", None), ("head/.*", {"lr_multiplier": 10.0}), (".*", {}))
    made = optimizer(PATHS, lr=0.2, layer_decay=0.5, groups=groups)
    rates = {row.path: row.lr for row in made.table()}
    assert rates == {
        "head/kernel": pytest.approx(2.0),
        "stage1_block10/w": pytest.approx(0.1),
        "stage1_block2/conv/kernel": pytest.approx(0.05),
        "stem_conv/kernel": pytest.approx(0.025),
        "stem_norm/scale": 0.0,  # frozen
    }
    params = jax.tree.map(jnp.zeros_like, made.trainable(jax.tree.unflatten(
        made.structure, [jnp.zeros(2)] * len(PATHS))))  # fmt: skip
    ones = jax.tree.map(jnp.ones_like, params)
    steps, _ = made.tx.update(ones, made.tx.init(params), params)
    assert {path: float(-step[0]) for path, step in zip(parameter_paths(steps),
                                                        jax.tree.leaves(steps))} == {
        path: pytest.approx(rate) for path, rate in rates.items() if rate
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_decay": 0.0}, "optim.layer_decay: a factor above 0"),
        ({"layer_order": ("a/.*",)}, "there is no optim.layer_decay"),
        ({"layer_decay": 0.5, "name": "lbfgs"}, "optim.layer_decay: 'lbfgs'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optimizer(PATHS, lr=0.1, **options)


def test_vgg16_up_to_block4_pool_leaves_7079424_parameters_to_train():
    model = create("vgg16", num_classes=None, hidden=None)
    image = jax.ShapeDtypeStruct((1, 150, 150, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    groups = (("stage[1-4]_.*", None), (".*", {}))
    made = make_optimizer(
        OptimOptions(name="rmsprop", lr=1e-5, groups=groups),
        variables["params"], total_steps=1, steps_per_epoch=1,
    )  # fmt: skip
    counts = {True: 0, False: 0}
    for row in made.table():
        count = 1
        for side in row.shape:
            count *= side
        counts[row.frozen] += count
    assert counts == {True: 7_635_264, False: 7_079_424}
