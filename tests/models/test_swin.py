import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.models.classifiers.swin import Block, relative_positions, same_region

IMAGES = jax.random.normal(jax.random.key(5), (4, 24, 40, 3))


def variables_of(model, x=IMAGES, random=False):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    if not random:
        return shapes
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32) / 4, shapes)


def tiny(**fields):
    fields = {"num_classes": 3, "stage_sizes": (1, 2), "width": 8, "head_width": 4, **fields}
    return create("swin_t", **{"window": 3, **fields})


def run(model, variables, *, train, seed=0):
    apply = jax.jit(
        lambda v: model.apply(v, IMAGES, train=train, rngs={"dropout": jax.random.key(seed)}),
    )
    return jax.device_get(apply(variables))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "parameters"), [("swin_t", 28_288_354), ("swin_s", 49_606_258), ("swin_b", 87_768_224)]
)
def test_there_are_as_many_parameters_as_in_torchvision(name, parameters):
    params = variables_of(create(name, num_classes=1000, stage_sizes=(2, 2, 6, 2)))["params"]
    block = params["stage3_block1"]
    size, extra = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (params, block))
    # The deeper variants repeat a block of the third stage, and only that one.
    deeper = create(name, num_classes=1000).stage_sizes[2] - 6
    assert size + deeper * extra == parameters


@pytest.mark.parametrize(
    ("name", "sizes", "rate"),
    [
        ("swin_t", (2, 2, 6, 2), 0.2),
        ("swin_s", (2, 2, 18, 2), 0.3),
        ("swin_b", (2, 2, 18, 2), 0.5),
    ],
)
def test_variants_have_the_papers_depths_and_drop_rates(name, sizes, rate):
    model = create(name, num_classes=None)
    assert (model.stage_sizes, model.drop_path) == (sizes, rate)


def test_relative_positions_count_every_displacement_once():
    window = 3
    index = relative_positions(window)
    seen = {}
    tokens = list(itertools.product(range(window), repeat=2))
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(tokens), repeat=2):
        assert seen.setdefault((y - v, x - u), index[i, j]) == index[i, j]
    assert sorted(seen.values()) == list(range(25))
    assert [seen[d] for d in sorted(seen)] == list(range(25))


@pytest.mark.parametrize("shift", [(1, 1), (0, 1), (2, 0)])
def test_same_region_is_who_was_not_carried_round_the_border(shift):
    grid, window = (2, 3), 3
    height, width = (count * window for count in grid)
    found = same_region(grid, window, shift)
    # Where every pixel of the rolled map came from, and its window.
    place = np.stack(np.indices((height, width)), -1)
    rolled = np.roll(place, (-shift[0], -shift[1]), (0, 1))
    for n, (row, column) in enumerate(itertools.product(*map(range, grid))):
        rows = slice(row * window, (row + 1) * window)
        columns = slice(column * window, (column + 1) * window)
        home = rolled[rows, columns].reshape(-1, 2)
        near = np.abs(home[:, None] - home[None, :]).max(-1) < window
        np.testing.assert_array_equal(found[n], near)


@pytest.mark.parametrize("shift", [0, 1])
def test_attention_reaches_the_window_and_no_further(shift):
    block = Block(heads=2, window=3, shift=shift)
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 8))
    variables = variables_of(block, x, random=True)
    apply = jax.jit(lambda x: block.apply(variables, x, train=False))
    moved = np.abs(apply(x.at[0, 3, 1, 0].add(1.0)) - apply(x)).max((0, 3)) > 1e-5
    # Windows begin at 0, 3 or, shifted by 1, at 1 and 4; the border's are smaller.
    rows, columns = (slice(3, 6), slice(0, 3)) if shift == 0 else (slice(1, 4), slice(1, 4))
    want = np.zeros((6, 6), bool)
    want[rows, columns] = True
    np.testing.assert_array_equal(moved, want)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("field", ["dropout", "attention_dropout", "drop_path"])
def test_dropouts_act_in_training_only(field):
    model = tiny(**{"drop_path": 0.0, field: 0.5})
    variables = variables_of(model, random=True)
    calm, _ = run(tiny(drop_path=0.0), variables, train=True)
    np.testing.assert_allclose(run(model, variables, train=False)[0], calm, atol=1e-6)
    first, second = (run(model, variables, train=True, seed=i)[0] for i in range(2))
    assert not np.allclose(first, calm, atol=1e-3)
    assert not np.allclose(first, second, atol=1e-3)


@pytest.mark.slow
def test_remat_changes_memory_and_nothing_else():
    variables = variables_of(tiny(stage_sizes=(2,)), random=True)
    rngs = {"dropout": jax.random.key(2)}

    def gradient(remat):
        rates = {"dropout": 0.1, "attention_dropout": 0.1, "drop_path": 0.1}
        model = tiny(stage_sizes=(2,), remat=remat, **rates)
        return jax.grad(
            lambda v: jnp.square(model.apply(v, IMAGES, train=True, rngs=rngs)[0]).sum()
        )

    kept, again = (jax.jit(gradient(r))(variables) for r in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), kept, again)
    text = str(jax.make_jaxpr(gradient(True))(variables))
    assert "remat" in text or "checkpoint" in text
