import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create

# Table 1 of Zhang et al. 2017: output channels of the three stages by groups, and MFLOPs.
TABLE = {
    1: ((144, 288, 576), 143),
    2: ((200, 400, 800), 140),
    3: ((240, 480, 960), 137),
    4: ((272, 544, 1088), 133),
    8: ((384, 768, 1536), 137),
}


def shapes(model, size=224):
    def both():
        x = jnp.zeros((1, size, size, 3))
        return model.init_with_output(jax.random.key(0), x, train=False)

    (_, features), variables = jax.eval_shape(both)
    return variables["params"], features


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("x0_5", 1_366_792), ("x1_0", 2_278_604), ("x1_5", 3_503_624), ("x2_0", 7_393_996)],
)
def test_shufflenet_v2_has_torchvisions_parameters(name, parameters):
    assert count(shapes(create(f"shufflenet_v2_{name}", num_classes=1000))[0]) == parameters


@pytest.mark.sampled(2)
@pytest.mark.parametrize("groups", TABLE)
def test_shufflenet_v1_has_the_maps_of_table_1(groups):
    _, features = shapes(create(f"shufflenet_v1_g{groups}", num_classes=None))
    channels, _ = TABLE[groups]
    maps = {key: value.shape[1:] for key, value in features.items()}
    sizes = dict(zip(("stride8", "stride16", "stride32"), (28, 14, 7)))
    assert maps == {
        "stride2": (112, 112, 24),
        "stride4": (56, 56, 24),
        **{key: (size, size, c) for (key, size), c in zip(sizes.items(), channels)},
        "pooled": (channels[-1],),
    }


@pytest.mark.sampled(2)
@pytest.mark.parametrize("groups", TABLE)
def test_shufflenet_v1_has_the_parameters_that_a_hand_counts(groups):
    params, _ = shapes(create(f"shufflenet_v1_g{groups}", num_classes=1000))
    want = {"stem": 3 * 3 * 3 * 24 + 2 * 24}
    wide, cost = 24, 112 * 112 * 9 * 3 * 24
    for stage, (out, units, size) in enumerate(zip(TABLE[groups][0], (4, 8, 4), (28, 14, 7)), 1):
        for unit in range(1, units + 1):
            first = 1 if stage == unit == 1 else groups
            inner, grown = out // 4, out - wide if unit == 1 else out
            reduce, window = wide * inner // first, 9 * inner
            expand = inner * grown // groups
            want[f"stage{stage}_block{unit}"] = (
                reduce + window + expand + 2 * (inner + inner + grown)
            )
            before = size * 2 if unit == 1 else size
            cost += before**2 * reduce + size**2 * (window + expand)
            wide = out
    want["head"] = wide * 1000 + 1000
    assert {name: count(module) for name, module in params.items()} == want
    # The table's multiply-adds, which it calls FLOPs; it leaves out the head.
    assert abs(cost / 1e6 - TABLE[groups][1]) < 2.5


def test_one_by_one_convolutions_are_grouped_but_for_the_very_first():
    params, _ = shapes(create("shufflenet_v1_g4", num_classes=None))
    kernels = {
        (block, layer): params[block][layer]["conv"]["kernel"].shape
        for block in ("stage1_block1", "stage1_block2")
        for layer in ("reduce", "expand")
    }
    assert kernels == {
        ("stage1_block1", "reduce"): (1, 1, 24, 68),
        ("stage1_block1", "expand"): (1, 1, 68 // 4, 272 - 24),
        ("stage1_block2", "reduce"): (1, 1, 272 // 4, 68),
        ("stage1_block2", "expand"): (1, 1, 68 // 4, 272),
    }
