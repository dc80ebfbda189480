import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from cvjax.models import create
from cvjax.models.classifiers.inception_v2 import HALVING, TABLE

KEY = jax.random.key(0)
# Fig. 5 of the paper, module by module: channels at the output, and what each convolution costs
# in weights and BatchNorm's scale and bias: inputs * window * outputs + 2 * outputs.
OUTPUTS = {
    "stage1_block1": (28, 256),
    "stage1_block2": (28, 320),
    "reduction1": (14, 576),
    **{f"stage2_block{i}": (14, 576) for i in (1, 2, 3, 4)},
    "reduction2": (7, 1024),
    "stage3_block1": (7, 1024),
    "stage3_block2": (7, 1024),
}


def cost(inputs, outputs, window=1):
    return inputs * window**2 * outputs + 2 * outputs


def double(inputs, reduce, expand):
    return cost(inputs, reduce) + cost(reduce, expand, 3) + cost(expand, expand, 3)


def shapes(model, size=224):
    """(variables, logits, features, outputs of every module) as shapes; nothing is computed."""

    def both():
        x = jnp.zeros((2, size, size, 3))
        variables = model.init(KEY, x, train=False)
        (logits, features), seen = model.apply(
            variables, x, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        return variables, logits, features, seen["intermediates"]

    return jax.eval_shape(both)


@pytest.fixture(scope="module")
def whole():
    return shapes(create("bn_inception", num_classes=1000))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameters_of_every_layer_are_those_of_the_papers_table(whole):
    params = whole[0]["params"]
    want = {
        "stem_conv1": 7 * 7 * 3 * 8 + 24 * 64,
        "stem_norm1": 2 * 64,
        "stem_conv2": cost(64, 64),
        "stem_conv3": cost(64, 192, 3),
        "head": 1024 * 1000 + 1000,
    }
    inputs = 192
    for i, rows in enumerate(TABLE):
        if i > 0:
            reduce, expand, reduce_double, expand_double = HALVING[i - 1]
            want[f"reduction{i}"] = cost(inputs, reduce) + cost(reduce, expand, 3)
            want[f"reduction{i}"] += double(inputs, reduce_double, expand_double)
            inputs += expand + expand_double
        for j, (direct, reduce, expand, *doubled, _, projection) in enumerate(rows):
            branches = cost(inputs, reduce) + cost(reduce, expand, 3) + double(inputs, *doubled)
            branches += cost(inputs, direct) + cost(inputs, projection)
            want[f"stage{i + 1}_block{j + 1}"] = branches
            inputs = direct + expand + doubled[1] + projection
    assert {name: count(module) for name, module in params.items()} == want
    assert count(params) == 11_188_288


def test_weights_are_as_many_as_in_the_authors_code(whole):
    # TF-Slim's own test counts 10,173,112 without the head: convolutions, three vectors
    # (shift, mean, variance) where it normalises, and a bias in the stem, where it does not.
    params = traverse_util.flatten_dict(whole[0]["params"])
    weights = sum(leaf.size for path, leaf in params.items() if leaf.ndim == 4)
    shifts = [p for p in params if p[-1] == "bias" and p[0] not in ("head", "stem_norm1")]
    assert weights + 3 * sum(params[path].size for path in shifts) + 64 == 10_173_112


def test_every_module_has_the_output_of_the_papers_table(whole):
    _, _, features, seen = whole
    found = {name: seen[name]["__call__"][0].shape[1:] for name in OUTPUTS}
    assert found == {name: (size, size, depth) for name, (size, depth) in OUTPUTS.items()}
    assert {name: map_.shape[1:] for name, map_ in features.items()} == {
        "stride2": (112, 112, 64),
        "stride4": (56, 56, 192),
        "stride8": (28, 28, 320),
        "stride16": (14, 14, 576),
        "stride32": (7, 7, 1024),
        "pooled": (1024,),
    }


def test_no_window_is_larger_than_3_behind_the_stem(whole):
    params = traverse_util.flatten_dict(whole[0]["params"])
    kernels = {path[0]: leaf for path, leaf in params.items() if leaf.ndim == 4}
    assert {kernel.shape[0] for name, kernel in kernels.items() if name != "stem_conv1"} <= {1, 3}


def test_branches_of_a_halving_module_fit_maps_of_any_size():
    model = create("bn_inception", num_classes=3, stage_sizes=(0, 0, 1))
    for size in (32, 33, 47, 75, 97):
        _, logits, features, _ = shapes(model, size)
        assert logits.shape == (2, 3)
        assert features["stride32"].shape[1] == -(-size // 32)
