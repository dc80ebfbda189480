"""Batch statistics and gradients after one training pass against PyTorch's, a network a family.

    pip install -e '.[parity]'
    python -m benchmarks.training_parity [--models resnet50 vgg16] [--out FILE]

Both sides hold the same weights: PyTorch's own start, with every vector (norms, biases, layer
scales) and every running statistic moved at random so that none is 0 or 1 throughout. Dropout and
stochastic depth are off, everything else is as in training. The loss is a fixed random projection
of the logits. PyTorch in float64 is the truth that both float32 runs are measured against: the
error of a tensor is the root mean square of the difference over that of the truth, with
`NEGLIGIBLE` of the network's largest gradient added, as some gradients are 0 but for rounding (of
a bias in front of a normalisation). PyTorch's own float32 error is the yardstick: deep networks
with few values a channel amplify rounding, and a ReLU that rounding puts on the other side of 0
changes whole tensors, on either side by chance; so the median over `INPUTS` batches counts. Rows
are added to those that FILE holds already.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.models import MODELS
from cvjax.models import create
from cvjax.pretrained import darknet, from_torch, to_torch
from cvjax.train.writer import environment

ROOT = Path(__file__).resolve().parents[1]
CLASSES, BATCH, INPUTS = 10, 4, 5
# Pixels a side where 64 are too few for the network.
SIDES = {
    "alexnet": 96,
    "inception_v3": 107,
    "inception_v4": 107,
    "inception_resnet_v2": 107,
    "xception": 96,
    "nasnetalarge": 96,
}
# What the peer does otherwise than our default, and no weight shows.
FIELDS = {"darknet53": darknet.FIELDS}
NEGLIGIBLE = 1e-4
# What counts as agreement: 1e-4, or this many times what PyTorch's own float32 is off.
LIMIT, SHARE = 1e-4, 3.0
COLUMNS = {
    "model": "model",
    "peer": "peer",
    "inputs": "batches",
    "tensors": "tensors with a gradient",
    "gradient_error": "gradients, worst tensor",
    "torch_gradient_error": "torch float32's own",
    "statistics_error": "statistics, worst tensor",
    "torch_statistics_error": "torch float32's own",
}


def main() -> int:
    """Measures, prints and writes; 1 if a network does not agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    default = ROOT / "benchmarks" / "results" / "training_parity.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    known = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    rows = {row["model"]: row for row in known}
    for name in options.models:
        rows[name] = measure(name)
        print(json.dumps(rows[name]), flush=True)
        result = {
            "command": f"python -m benchmarks.training_parity --models {' '.join(rows)}",
            "environment": {**environment(), "torch": torch.__version__},
            "unit": "relative root mean square error against PyTorch in float64",
            "aim": f"at most {LIMIT:g}, or {SHARE:g} times torch float32's own",
            "columns": COLUMNS,
            "rows": [rows[name] for name in MODELS if name in rows],
        }
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return int(not all(agrees(rows[name]) for name in options.models))


def agrees(row: dict[str, Any]) -> bool:
    """Whether a row keeps the aim."""
    return all(
        row[f"{kind}_error"] is None
        or row[f"{kind}_error"] <= max(LIMIT, SHARE * row[f"torch_{kind}_error"])
        for kind in ("gradient", "statistics")
    )


def measure(name: str) -> dict[str, Any]:
    """One row; statistics are None where the network has none."""
    library, peer = MODELS[name][:2]
    side = SIDES.get(name, 64)
    model, fields = _ours(name, side)
    net = _theirs(library, peer, side)
    state = {key: x.numpy().copy() for key, x in net.state_dict().items()}
    variables = from_torch(name, state, library, num_classes=CLASSES, **fields)
    our_pass = _our_pass(model, variables)
    worst: dict[str, list[float]] = {}
    for seed in range(INPUTS):
        rng = np.random.default_rng(seed)
        image = rng.standard_normal((BATCH, side, side, 3), np.float32)
        weight = rng.standard_normal((BATCH, CLASSES), np.float32)
        ours = {
            kind: to_torch(name, tree, library, num_classes=CLASSES, **fields)
            for kind, tree in our_pass(image, weight).items()
        }
        single = _their_pass(net, state, image, weight, torch.float32)
        truth = _their_pass(net, state, image, weight, torch.float64)
        for kind, want in truth.items():
            floor = NEGLIGIBLE * max(map(_rms, want.values()), default=0.0)
            for prefix, found in (("", ours[kind]), ("torch_", single[kind])):
                errors = [
                    _rms(found[key] - x) / (_rms(x) + floor * (kind == "gradient"))
                    for key, x in want.items()
                ]
                worst.setdefault(f"{prefix}{kind}_error", []).extend(
                    [max(errors)] if errors else []
                )
    return {
        "model": name,
        "peer": f"{library}.{peer}",
        "workload": f"{side}x{side}, batch {BATCH}",
        "inputs": INPUTS,
        "tensors": len(truth["gradient"]),
        **{key: float(f"{np.median(x):.2g}") if x else None for key, x in worst.items()},
    }


def _ours(name: str, side: int) -> tuple[Any, dict[str, Any]]:
    model = create(name, num_classes=CLASSES)
    fields = {
        field.name: 0.0
        for field in dataclasses.fields(model)
        if field.name in ("dropout", "attention_dropout", "drop_path")
    }
    fields |= FIELDS.get(name, {})
    if hasattr(model, "image_size"):
        fields["image_size"] = side
    return create(name, num_classes=CLASSES, **fields), fields


def _our_pass(model: Any, variables: Any) -> Callable[[np.ndarray, np.ndarray], dict[str, Any]]:
    rest = {key: x for key, x in variables.items() if key != "params"}

    def loss(params: Any, image: jax.Array, weight: jax.Array) -> Any:
        (logits, _), mutated = model.apply(
            {"params": params, **rest}, image, train=True, mutable=list(rest)
        )
        return jnp.sum(logits * weight), mutated

    # Compiling takes most of the time; unoptimised code is compiled several times as fast.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=quick)

    def run(image: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
        with jax.default_matmul_precision("highest"):
            gradient, mutated = jax.device_get(step(variables["params"], image, weight))
        # Whole trees, as `to_torch` takes them; only one part of each is looked at.
        return {
            "gradient": {"params": gradient, **rest},
            "statistics": {"params": variables["params"], **mutated},
        }

    return run


def _theirs(library: str, name: str, side: int) -> torch.nn.Module:
    torch.manual_seed(0)
    if library == "torchvision":
        import torchvision

        extra = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        extra |= {"init_weights": True} if extra else {}
        net = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **extra)
    else:
        import timm

        extra = {"img_size": side} if name.startswith(("vit_", "deit_")) else {}
        net = timm.create_model(name, pretrained=False, num_classes=CLASSES, **extra)
    for module in net.modules():
        kind = type(module).__name__
        if kind.startswith("Dropout") or kind == "StochasticDepth":
            module.p = 0.0
        elif kind == "DropPath":
            module.drop_prob = 0.0
    with torch.no_grad():
        for key, x in net.state_dict().items():
            if key.endswith("running_var") or (x.ndim == 1 and key.endswith("weight")):
                x.copy_(1 + 0.2 * torch.randn_like(x).abs())
            elif key.endswith(("running_mean", "bias")) and x.ndim == 1:
                x.copy_(0.2 * torch.randn_like(x))
            elif "layer_scale" in key or "gamma" in key:
                x.copy_(1 + 0.2 * torch.randn_like(x))
    return net


def _their_pass(
    net: torch.nn.Module,
    state: dict[str, np.ndarray],
    image: np.ndarray,
    weight: np.ndarray,
    kind: torch.dtype,
) -> dict[str, dict[str, np.ndarray]]:
    net.to(kind).train()
    with torch.no_grad():
        for key, x in net.state_dict().items():
            x.copy_(torch.from_numpy(state[key]))
    net.zero_grad(set_to_none=True)
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).to(kind)
    (net(x) * torch.from_numpy(weight).to(kind)).sum().backward()
    return {
        "gradient": {key: p.grad.numpy() for key, p in net.named_parameters()},
        "statistics": {
            key: x.numpy().copy()
            for key, x in net.state_dict().items()
            if key.endswith(("running_mean", "running_var"))
        },
    }


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


if __name__ == "__main__":
    sys.exit(main())
