"""Models of each pixel given those before it: no leak, exact probabilities, true draws.

The oracle is enumeration: of all images of a tiny grid, and of all pairs of values.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvjax.models import create
from cvjax.tasks.pixel_sampling import sample_cached, sample_plain

SMALL = {"width": 12, "depth": 2, "hidden": 12, "first_window": 3}
MODELS = {
    "pixel_cnn": SMALL,
    "gated_pixel_cnn": SMALL,
    "row_lstm": SMALL,
    "diagonal_bilstm": SMALL,
    "fvbn": {},
    "made": {"hidden": (24, 24)},
}
CACHED = ("pixel_cnn", "gated_pixel_cnn")
KINDS = {
    "grey": {"image_shape": (3, 3, 1)},
    "colour": {"image_shape": (2, 2, 3)},
    "mixture": {
        "image_shape": (1, 2, 3),
        "likelihood": "logistic_mixture",
        "levels": 3,
        "components": 2,
    },
    "levels": {"image_shape": (2, 3, 1), "likelihood": "categorical", "levels": 3},
}
# Every model and every kind; all pairs with the slow tests.
QUICK = {
    ("pixel_cnn", "colour"),
    ("gated_pixel_cnn", "mixture"),
    ("row_lstm", "grey"),
    ("diagonal_bilstm", "colour"),
    ("fvbn", "colour"),
    ("made", "levels"),
}
PAIRS = [
    pytest.param(name, kind, marks=() if (name, kind) in QUICK else pytest.mark.slow)
    for name in MODELS
    for kind in KINDS
]


@functools.cache
def model_and_variables(name, kind):
    model = create(name, **MODELS[name], **KINDS[kind])
    example = jnp.zeros((1, *model.image_shape))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), example, train=True))
    rng = np.random.default_rng(0)
    # Large enough that every dependence shows, masked weights too if the mask were lost.
    draw = lambda s: (0.5 * rng.standard_normal(s.shape)).astype(np.float32)  # noqa: E731
    return model, {"params": jax.tree.map(draw, shapes["params"])}


def jacobian(name, kind, shape=None):
    """[H, W, P, H, W, C]: whether a parameter changes with a value."""
    model, variables = model_and_variables(name, kind)
    image = jax.random.uniform(jax.random.key(1), shape or model.image_shape)

    def parameters(image):
        return model.apply(variables, image[None], train=False)[0]["parameters"][0]

    return np.abs(np.asarray(jax.jit(jax.jacrev(parameters))(image))) > 1e-12


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_no_parameter_sees_its_own_value_or_one_after_it(name, kind):
    model, _ = model_and_variables(name, kind)
    found = jacobian(name, kind)
    height, width, channels = model.image_shape
    groups = model.distribution.groups
    each = model.distribution.parameters // groups
    for row, column, p in np.ndindex(height, width, model.distribution.parameters):
        seen = found[row, column, p].ravel()
        first_hidden = (row * width + column) * channels + (p // each if groups > 1 else 0)
        assert not seen[first_hidden:].any(), (row, column, p)
    assert found[-1, -1].any()


@pytest.mark.parametrize(
    "name",
    ["made", "gated_pixel_cnn"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("fvbn", "diagonal_bilstm")],
)
def test_the_last_value_sees_all_the_others(name):
    found = jacobian(name, "grey")[-1, -1].any(axis=0).ravel()
    np.testing.assert_array_equal(found, [True] * 8 + [False])


def test_the_plain_pixel_cnn_has_the_blind_spot_that_the_gated_one_has_not():
    """What lies above and to the right, beyond a slope of one column a row (2016b, figure 1)."""
    plain = jacobian("pixel_cnn", "grey", (5, 7, 1))[3, 2].any(axis=(0, -1))
    gated = jacobian("gated_pixel_cnn", "grey", (5, 7, 1))[3, 2].any(axis=(0, -1))
    assert plain[2, 3]
    assert not plain[2, 4:].any()
    assert gated[2, 4]


@pytest.mark.slow
def test_the_row_lstm_sees_a_column_more_each_row_up_and_the_diagonal_one_all_but_a_corner():
    row, diagonal = (
        jacobian(name, "grey", (4, 9, 1))[3, 4].any(axis=(0, -1))
        for name in ("row_lstm", "diagonal_bilstm")
    )
    for up in (1, 2, 3):
        assert row[3 - up, 4 + up]
        assert not row[3 - up, 4 + up + 1 :].any()
    # The last pixel of the row above is in no feature of its own row, and no window reaches it.
    np.testing.assert_array_equal(np.argwhere(~diagonal[:3]), [[2, 8]])


def every_image(model):
    levels = 2 if model.likelihood == "bernoulli" else model.levels
    values = np.arange(levels) / (levels - 1)
    count = int(np.prod(model.image_shape))
    found = np.array([*itertools.product(values, repeat=count)], np.float32)
    return jnp.asarray(found.reshape(-1, *model.image_shape))


@functools.cache
def log_probabilities(name, kind):
    model, variables = model_and_variables(name, kind)

    @jax.jit
    def log_p(images):
        outputs, _ = model.apply(variables, images, train=False)
        return model.distribution.log_prob(outputs["parameters"], images).sum(axis=(1, 2))

    return np.float64(log_p(every_image(model)))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_probabilities_of_all_images_sum_to_one(name, kind):
    log_p = log_probabilities(name, kind)
    assert log_p.std() > 0.1
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)


@functools.cache
def drawn(name, kind, sampler, count=5):
    model, variables = model_and_variables(name, kind)
    draw = {"plain": sample_plain, "cached": sample_cached}[sampler]
    return np.asarray(jax.jit(lambda key: draw(model, variables, key, count))(jax.random.key(2)))


@pytest.mark.parametrize(("name", "kind"), [p for p in PAIRS if p.values[0] in CACHED])
def test_the_cached_sampler_draws_the_same_pictures(name, kind):
    plain = drawn(name, kind, "plain")
    np.testing.assert_array_equal(drawn(name, kind, "cached"), plain)
    assert np.unique(plain).size > 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gated_pixel_cnn", "mixture"),
        ("fvbn", "grey"),
        pytest.param("pixel_cnn", "levels", marks=pytest.mark.slow),
        pytest.param("made", "colour", marks=pytest.mark.slow),
    ],
)
def test_images_are_drawn_as_often_as_they_are_probable(name, kind):
    count = 4000
    sampler = "cached" if name in CACHED else "plain"
    pictures = drawn(name, kind, sampler, count).reshape(count, -1)
    model, _ = model_and_variables(name, kind)
    every = np.asarray(every_image(model)).reshape(-1, pictures.shape[1])
    index = {np.rint(v * 60).astype(int).tobytes(): i for i, v in enumerate(every)}
    which = [index[np.rint(v * 60).astype(int).tobytes()] for v in pictures]
    counts = np.bincount(which, minlength=len(every))
    expected = count * np.exp(log_probabilities(name, kind))
    common = expected > 10
    statistic = ((counts - expected)[common] ** 2 / expected[common]).sum()
    # Pearson's test with the rare images as one more class.
    rest = expected[~common].sum()
    if rest > 5:
        statistic += (counts[~common].sum() - rest) ** 2 / rest
    assert common.sum() >= 5
    assert statistic < stats.chi2.ppf(0.999, common.sum())


def test_the_count_of_pictures_changes_none_of_them():
    two, five = (drawn("fvbn", "grey", "plain", count) for count in (2, 5))
    np.testing.assert_array_equal(two, five[:2])


# fvbn is nothing but the last layer, which is float32.
@pytest.mark.parametrize("name", ["gated_pixel_cnn", "row_lstm", "made"])
def test_bfloat16_computes_and_keeps_parameters_and_probabilities_in_float32(name):
    model, variables = model_and_variables(name, "grey")
    image = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 3, 3, 1)).astype(jnp.float32)
    low = model.clone(dtype=jnp.bfloat16)
    shapes = jax.eval_shape(lambda: low.init(jax.random.key(0), image, train=True))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    exact, rounded = (
        np.asarray(jax.jit(lambda m=m: m.apply(variables, image, train=False))()[0]["parameters"])
        for m in (model, low)
    )
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()


def test_widths_that_do_not_divide_by_the_channels_are_refused():
    model = create("pixel_cnn", image_shape=(4, 4, 3), width=16)
    with pytest.raises(ValueError, match=r"Make model\.width a multiple of the image's channels"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=True))
