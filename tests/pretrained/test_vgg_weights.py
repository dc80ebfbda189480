import json

import jax
import jax.numpy as jnp
import named_weights
import numpy as np
import parity
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch

# The last ReLU at each stride; the fifth pooling.
STAGES = {
    "vgg11": (1, 4, 9, 14, 19, 20),
    "vgg16": (3, 8, 15, 22, 29, 30),
    "vgg19": (3, 8, 17, 26, 35, 36),
    "vgg16_bn": (5, 12, 22, 32, 42, 43),
}
NAMES = [
    "vgg11",
    pytest.param("vgg16", marks=pytest.mark.slow),
    pytest.param("vgg19", marks=pytest.mark.slow),
    pytest.param("vgg16_bn", marks=pytest.mark.slow),
]
THIN = {"width": 1, "hidden": 3}


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_features_agree_with_torchvision(name):
    stages = {f"stride{2**i}": f"features.{n}" for i, n in enumerate(STAGES[name])}
    parity.check(f"tv_{name}", name, stages=stages | {"pooled": "classifier.4"})


def thin_state(name):
    model = create(name, num_classes=5, **THIN)
    image = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    return variables, to_torch(name, variables, num_classes=5, **THIN)


@pytest.mark.parametrize("name", STAGES)
def test_tensors_are_called_as_in_torchvision(name):
    with np.load(named_weights.GOLDEN / f"tv_{name}.npz") as golden:
        want = {entry[0] for entry in json.loads(str(golden["spec"]))["state"]}
    names = {n for n in thin_state(name)[1] if not n.endswith("num_batches_tracked")}
    assert names == want


def test_convolutions_can_be_taken_without_the_dense_layers():
    variables, state = thin_state("vgg13_bn")
    base = from_torch("vgg13_bn", state, num_classes=None, hidden=None, width=THIN["width"])
    want = {k: v for k, v in variables["params"].items() if k.startswith("stage")}
    jax.tree.map(np.testing.assert_array_equal, base["params"], want)


def test_other_dense_layers_are_refused():
    _, state = thin_state("vgg11")
    with pytest.raises(ValueError, match=r"unexpected: classifier\.9\.weight"):
        from_torch("vgg11", state | {"classifier.9.weight": state["classifier.6.weight"]},
                   num_classes=5, **THIN)  # fmt: skip
    del state["classifier.3.bias"]
    with pytest.raises(ValueError, match=r"missing: classifier\.3\.bias"):
        from_torch("vgg11", state, num_classes=5, **THIN)
