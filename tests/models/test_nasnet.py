import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create
from cvjax.models.classifiers.nasnet import Shrink


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "parameters"), [("nasnetamobile", 5_289_978), ("nasnetalarge", 88_753_150)]
)
def test_nasnet_has_the_references_parameters(name, parameters):
    model = create(name, num_classes=1000)
    x = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.slow
def test_last_map_has_the_channels_of_its_name():
    for name, size, channels in (("nasnetalarge", 331, 4032), ("nasnetamobile", 224, 1056)):
        model = create(name, num_classes=None, stage_sizes=(1, 1, 1))
        x = jnp.zeros((1, size, size, 3))
        features = jax.eval_shape(
            lambda m=model, x=x: m.init_with_output(jax.random.key(0), x, train=False)[0][1]
        )
        assert features["stride32"].shape == (1, *[-(-size // 32)] * 2, channels)


def test_odd_pixels_make_the_second_half_of_a_shrunk_map():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    layer = Shrink(2)
    variables = layer.init(jax.random.key(0), x, train=False)
    params = variables["params"]
    for name in ("even", "odd"):
        params[name]["kernel"] = jnp.ones_like(params[name]["kernel"])
    y = layer.apply(variables, x, train=False) * np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(y[0, :, :, 0], [[1, 3], [9, 11]], rtol=1e-6)
    np.testing.assert_allclose(y[0, :, :, 1], [[6, 8], [14, 16]], rtol=1e-6)


def test_cell_behind_a_reduction_reads_the_cell_before_it_unless_that_is_skipped():
    channels = {}
    for skip in (False, True):
        fields = {"stage_sizes": (1, 1), "width": 8, "stem_width": 4, "skip_reduction": skip}
        model = create("nasnetamobile", num_classes=None, **fields)
        x = jnp.zeros((1, 32, 32, 3))
        params = jax.eval_shape(lambda m=model, x=x: m.init(jax.random.key(1), x, train=False))
        previous = params["params"]["stage2_cell1"]["previous"]
        channels[skip] = previous["even"]["kernel"].shape[2]
    # The first stage's cell makes 6 times 8 channels, the stem's second one 4 times 4.
    assert channels == {False: 48, True: 16}
