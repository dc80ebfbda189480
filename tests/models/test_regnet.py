import jax
import jax.numpy as jnp
import pytest

from cvjax.models import create


def params_of(model):
    image = jnp.zeros((1, 64, 64, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("regnet_x_400mf", 5_495_976),
        ("regnet_x_800mf", 7_259_656),
        ("regnet_x_1_6gf", 9_190_136),
        ("regnet_x_3_2gf", 15_296_552),
        ("regnet_x_8gf", 39_572_648),
        ("regnet_x_16gf", 54_278_536),
        ("regnet_x_32gf", 107_811_560),
        ("regnet_y_400mf", 4_344_144),
        ("regnet_y_800mf", 6_432_512),
        ("regnet_y_1_6gf", 11_202_430),
        ("regnet_y_3_2gf", 19_436_338),
        ("regnet_y_8gf", 39_381_472),
        ("regnet_y_16gf", 83_590_140),
        ("regnet_y_32gf", 145_046_770),
    ],
)
def test_parameters_are_torchvisions(name, parameters):
    params = params_of(create(name, num_classes=1000))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize(
    ("name", "blocks", "widths"),
    [
        ("regnet_x_800mf", (1, 3, 7, 5), (64, 128, 288, 672)),
        ("regnet_x_3_2gf", (2, 6, 15, 2), (96, 192, 432, 1008)),
        ("regnet_y_400mf", (1, 3, 6, 6), (48, 104, 208, 440)),
        ("regnet_y_32gf", (2, 5, 12, 1), (232, 696, 1392, 3712)),
    ],
)
def test_line_of_widths_gives_the_stages_of_the_papers_table(name, blocks, widths):
    model = create(name, num_classes=None)
    assert (model.stage_sizes, model.widths) == (blocks, widths)


@pytest.mark.parametrize(
    ("name", "paper", "torchvision"),
    [
        ("regnet_x_400mf", (32, 64, 160, 384), (32, 64, 160, 400)),
        ("regnet_y_800mf", (64, 128, 320, 768), (64, 144, 320, 784)),
        ("regnet_y_8gf", (168, 448, 896, 2016), (224, 448, 896, 2016)),
    ],
)
def test_three_nets_are_a_little_wider_than_in_the_paper(name, paper, torchvision):
    model = create(name, num_classes=None)
    assert model.widths == torchvision
    apart = {a - b for a, b in zip(torchvision, paper)}
    assert apart <= {0, model.group_width}


def test_gate_is_a_quarter_of_what_enters_the_block():
    params = params_of(create("regnet_y_400mf", num_classes=None))
    reduce = [params[f"stage2_block{j}"]["squeeze_excite"]["reduce"]["kernel"] for j in (1, 2)]
    assert [kernel.shape for kernel in reduce] == [(104, 12), (104, 26)]
    assert (
        "squeeze_excite"
        not in params_of(create("regnet_x_400mf", num_classes=None))["stage2_block1"]
    )
