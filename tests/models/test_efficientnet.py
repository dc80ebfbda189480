import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import create

COUNTS = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "tf_efficientnet_b0": 5_288_548,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
    "efficientnet_v2_s": 21_458_488,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_l": 118_515_272,
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    # The deepest take seconds to trace.
    [pytest.param(n, marks=pytest.mark.slow) if size > 25e6 else n for n, size in COUNTS.items()],
)
def test_efficientnet_has_the_references_parameters(name):
    model = create(name, num_classes=1000)
    x = jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == COUNTS[name]


@pytest.mark.slow
def test_lite_has_no_gates_and_v2_has_them_behind_its_fused_stages():
    def gated(name):
        x = jnp.zeros((1, 32, 32, 3))
        model = create(name, num_classes=None)
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))["params"]
        return {block.split("_")[0] for block in params if "squeeze_excite" in params[block]}

    assert gated("efficientnet_lite0") == set()
    assert gated("efficientnet_v2_s") == {"stage4", "stage5", "stage6"}


@pytest.mark.slow
def test_training_drops_branches_and_pooled_channels():
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    fields = {"stage_sizes": (2,), "num_classes": 3}
    for drops, changes in (({"dropout": 0.9, "drop_path": 0.0}, True),
                           ({"dropout": 0.0, "drop_path": 1.0}, True),
                           ({"dropout": 0.0, "drop_path": 0.0}, False)):  # fmt: skip
        model = create("efficientnet_b0", **fields, **drops)
        variables = jax.jit(lambda m=model: m.init(jax.random.key(1), x, train=False))()

        @jax.jit
        def logits(key, model=model, variables=variables):
            rngs = {"dropout": key}
            return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0][0]

        draws = [logits(jax.random.key(i)) for i in range(8)]
        assert any(np.any(draws[0] != draw) for draw in draws) == changes


@pytest.mark.parametrize(("classes", "limit"), [(10, 1000**-0.5), (4000, 4000**-0.5)])
def test_a_small_head_starts_as_unsure_as_one_of_imagenet(classes, limit):
    model = create("efficientnet_b0", num_classes=classes, stage_sizes=())
    x = jnp.zeros((1, 16, 16, 3))
    kernel = jax.jit(lambda: model.init(jax.random.key(1), x, train=False))()["params"]["head"]
    assert float(jnp.abs(kernel["kernel"]).max()) == pytest.approx(limit, rel=1e-2)


def test_same_padding_and_symmetric_padding_differ_by_a_pixel():
    # On even sizes TensorFlow pads a 3x3 window of stride 2 below and right alone.
    x = jnp.zeros((1, 16, 16, 3)).at[:, 0, 0].set(1)
    maps = []
    for name in ("efficientnet_b0", "tf_efficientnet_b0"):
        model = create(name, num_classes=None, stage_sizes=())
        variables = jax.jit(lambda m=model: m.init(jax.random.key(1), x, train=False))()
        kernel = variables["params"]["stem"]["conv"]["kernel"]
        kernel = jnp.zeros_like(kernel).at[1, 1].set(1)
        variables["params"]["stem"]["conv"]["kernel"] = kernel
        _, state = model.apply(
            variables, x, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        maps.append(state["intermediates"]["stem"]["conv"]["__call__"][0][0, 0, 0, 0])
    # The centre of the first window lies on pixel 0 with symmetric padding, on 1 with "SAME".
    assert maps == [3, 0]
