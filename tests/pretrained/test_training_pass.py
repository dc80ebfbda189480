"""Statistics and gradients after one training pass are PyTorch's; see tests/golden/training."""

import json
import sys
from pathlib import Path

import jax
import named_weights
import numpy as np
import pytest

from cvjax.models import create
from cvjax.pretrained import from_torch, to_torch

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "training"
# The fields that make our networks as small as make.py's.
SMALL = {
    "resnet50": {"stage_sizes": (1, 1, 1, 1), "group_width": 16},
    "mobilenet_v2": {
        "stage_sizes": (1, 2, 1),
        "channels": (16, 24, 32),
        "expansions": (1, 6, 6),
        "strides": (1, 2, 2),
        "width_multiplier": 0.5,
        "dropout": 0.0,
    },
    "densenet121": {"stage_sizes": (2, 2, 2, 2), "growth": 8, "width": 16},
    "convnext_tiny": {"stage_sizes": (1, 1, 1, 1), "width": 8, "drop_path": 0.0},
}

QUICK = ("resnet50",)


@pytest.mark.parametrize(
    "name",
    # The others take long to compile.
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SMALL],
)
def test_gradients_and_statistics_are_torchs(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        spec, rows = json.loads(str(file["spec"])), file["rows"]
    fields = {"num_classes": 5, **SMALL[name]}
    state = {key: named_weights.tensor(key, shape) for key, shape in spec["state"]}
    variables = from_torch(name, state, **fields)
    rest = {key: x for key, x in variables.items() if key != "params"}
    image = named_weights.image(spec["image"])
    weight = named_weights.uniform("projection", [len(image), 5])
    model = create(name, **fields)

    def loss(params):
        (logits, _), mutated = model.apply(
            {"params": params, **rest}, image, train=True, mutable=list(rest)
        )
        return (logits * weight).sum(), mutated

    gradient, mutated = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    found = {
        "gradient": to_torch(name, {"params": gradient, **rest}, **fields),
        "statistics": to_torch(name, {"params": variables["params"], **mutated}, **fields),
    }
    largest = max(row[0] for key, row in zip(spec["tensors"], rows) if key.startswith("grad"))
    for key, row in zip(spec["tensors"], rows):
        kind, tensor = key.split(" ")
        flat = found[kind][tensor].reshape(-1)
        samples = flat[(np.arange(16) * flat.size) // 16]
        rms = np.sqrt(np.mean(np.square(flat, dtype=np.float64)))
        # Gradients that are 0 but for rounding are held against the largest one.
        scale = max(row[0], 1e-3 * largest)
        np.testing.assert_allclose(
            np.append(rms, samples) / scale, row / scale, rtol=0, atol=1e-3, err_msg=key
        )


@pytest.mark.slow
def test_a_training_pass_is_torchs_side_by_side():
    pytest.importorskip("torchvision")
    pytest.importorskip("timm")
    sys.path.insert(0, str(ROOT))
    from benchmarks import training_parity

    for name in ("resnet50", "squeezenet1_1", "vit_tiny_patch16_224"):
        row = training_parity.measure(name)
        assert training_parity.agrees(row), row
