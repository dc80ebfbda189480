"""Forward pass and training step of one model a family against PyTorch's, in turn on one machine.

    python -m benchmarks.models [--models resnet50 vgg16] [--rounds 5] [--batch 8]
                                [--turn_seconds 1] [--lock FILE] [--out FILE]

Peers are torchvision's and timm's models of the same name: eager, in both memory formats, of which
the faster counts, and on a GPU also `torch.compile`d with channels_last. Both sides take float
pictures that lie on the device; a training step is forward, backward and SGD with momentum in
training mode (dropout, batch statistics). float32 on a CPU, bfloat16 (autocast there) on a GPU. The
contenders take turns in every round; times are medians over the rounds, ratios medians of the
rounds' ratios (above 1: ours is faster). Compile times are of a first call in this process. Rows
are added to those that FILE holds already, so that families can be measured one by one.

A GPU waits while twenty networks are compiled one by one. `--rounds 0` compiles and writes the
compile times alone; with a cache for each compiler (`JAX_COMPILATION_CACHE_DIR`,
`TORCHINDUCTOR_CACHE_DIR`) several such processes can fill it, and a second round, which then takes
seconds a network and keeps the compile times of the first, measures under `--lock`.

Needs torch, torchvision and timm, which cvjax itself never imports.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F

from benchmarks.device import ON_GPU
from benchmarks.known_rows import known_rows
from benchmarks.turns import Run, alone, milliseconds, ratios, seconds, take_turns
from cvjax.models import create
from cvjax.ops.compiling import compiler_options
from cvjax.process_memory import start_with_huge_pages
from cvjax.train.updates import apply_updates
from cvjax.train.writer import environment
from experiments.machine import machine_kind

ROOT = Path(__file__).resolve().parents[1]
DTYPE = "bfloat16" if ON_GPU else "float32"
COMPILED_PEERS = ON_GPU  # on a CPU compiling them takes longer than all the rest
CLASSES = 1000
# Our name -> the peer's library and name, side on a CPU, side on a GPU.
MODELS = {
    "alexnet": ("torchvision", "alexnet", 224, 224),
    "vgg16": ("torchvision", "vgg16", 96, 224),
    "googlenet": ("torchvision", "googlenet", 128, 224),
    "inception_v3": ("torchvision", "inception_v3", 171, 299),
    "inception_v4": ("timm", "inception_v4", 171, 299),
    "inception_resnet_v2": ("timm", "inception_resnet_v2", 171, 299),
    "xception": ("timm", "legacy_xception", 131, 299),
    "resnet50": ("torchvision", "resnet50", 128, 224),
    "resnetv2_50": ("timm", "resnetv2_50", 128, 224),
    "resnext50_32x4d": ("torchvision", "resnext50_32x4d", 128, 224),
    "wide_resnet50_2": ("torchvision", "wide_resnet50_2", 96, 224),
    "seresnet50": ("timm", "seresnet50", 128, 224),
    "senet154": ("timm", "legacy_senet154", 64, 224),
    "densenet121": ("torchvision", "densenet121", 128, 224),
    "squeezenet1_1": ("torchvision", "squeezenet1_1", 224, 224),
    "mobilenetv1_100": ("timm", "mobilenetv1_100", 224, 224),
    "mobilenet_v2": ("torchvision", "mobilenet_v2", 224, 224),
    "mobilenet_v3_large": ("torchvision", "mobilenet_v3_large", 224, 224),
    "shufflenet_v2_x1_0": ("torchvision", "shufflenet_v2_x1_0", 224, 224),
    "mnasnet1_0": ("torchvision", "mnasnet1_0", 224, 224),
    "nasnetalarge": ("timm", "nasnetalarge", 75, 331),
    "efficientnet_b0": ("torchvision", "efficientnet_b0", 224, 224),
    "regnet_y_400mf": ("torchvision", "regnet_y_400mf", 224, 224),
    "convnext_tiny": ("torchvision", "convnext_tiny", 128, 224),
    "darknet53": ("timm", "darknet53", 96, 256),
    "vit_tiny_patch16_224": ("timm", "vit_tiny_patch16_224", 224, 224),
    "deit_small_patch16_224": ("timm", "deit_small_patch16_224", 224, 224),
    "swin_t": ("torchvision", "swin_t", 128, 224),
}
COLUMNS = {
    "model": "model",
    "workload": "workload",
    "machine": "measured on",
    "forward_ms": "forward, ms",
    "eager_forward_ratio": "torch / cvjax",
    "compiled_forward_ratio": "torch.compile / cvjax",
    "step_ms": "training step, ms",
    "eager_step_ratio": "torch / cvjax",
    "compiled_step_ratio": "torch.compile / cvjax",
    "compile_forward_seconds": "compile forward, s",
    "compile_step_seconds": "compile step, s",
}
if not COMPILED_PEERS:
    COLUMNS = {key: label for key, label in COLUMNS.items() if "compiled" not in key}


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    torch.backends.cudnn.benchmark = True  # as XLA, which tries its convolutions while compiling
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    turn_help = "one turn of a contender takes about this long, so that clocks and threads settle"
    parser.add_argument("--turn_seconds", type=float, default=0.2 if ON_GPU else 1, help=turn_help)
    parser.add_argument("--batch", type=int, default=64 if ON_GPU else 8)
    default = ROOT / "benchmarks" / "results" / f"models_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--lock", type=Path, help="time while holding the lock of this file")
    options = parser.parse_args()
    print("  ".join(COLUMNS.values()))
    for name in options.models:
        row = measure(name, options.batch, options.rounds, options.turn_seconds, options.lock)
        with alone(options.lock):  # others may write to the same file
            row = _write(row, options)
        print("  ".join(str(row.get(key)) for key in COLUMNS), flush=True)


def _write(row: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """`row` as it now stands in the file of results, with the rows that were there."""
    out = options.out
    machine = environment()
    row["machine"] = machine_kind(machine)
    rows = {one["model"]: one for one in known_rows(out)}
    compiled_alone = rows.get(row["model"], {})
    if "forward_ms" not in compiled_alone and "forward_ms" in row:
        row |= {key: value for key, value in compiled_alone.items() if "seconds" in key}
    rows[row["model"]] = row
    result = {
        "command": f"python -m benchmarks.models --rounds {options.rounds} --batch {options.batch} "
        f"--turn_seconds {options.turn_seconds}",
        "environment": {**machine, "torch": torch.__version__},
        "unit": f"milliseconds, {DTYPE}; ratios above 1: cvjax is faster",
        "columns": COLUMNS,
        "rows": [rows[name] for name in MODELS if name in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    return row


def measure(
    name: str, batch: int, rounds: int, turn_seconds: float, lock: Path | None
) -> dict[str, Any]:
    """One row of the table."""
    library, peer, *sides = MODELS[name]
    side = sides[ON_GPU]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, side, side, 3), np.float32)
    ours = Ours(name, images)
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    eager = {
        label: Theirs(library, peer, images, layout)
        for label, layout in formats.items()
        if rounds
    }  # fmt: skip
    row: dict[str, Any] = {
        "model": name,
        "peer": f"{library}.{peer}",
        "workload": f"{side}x{side}, batch {batch}",
        "rounds": rounds,
    }
    contenders: dict[str, dict[str, Run]] = {}
    compiled = (
        Theirs(library, peer, images, torch.channels_last, compiled=True)
        if COMPILED_PEERS
        else None
    )
    for kind in ("forward", "step"):
        started = time.perf_counter()
        getattr(ours, f"compile_{kind}")()
        row[f"compile_{kind}_seconds"] = round(time.perf_counter() - started, 1)
        if rounds:
            getattr(ours, kind)(1)
        contenders[kind] = {"ours": getattr(ours, kind)}
        if compiled:
            started = time.perf_counter()
            getattr(compiled, kind)(1)
            row[f"torch_compile_{kind}_seconds"] = round(time.perf_counter() - started, 1)
            contenders[kind]["compiled"] = getattr(compiled, kind)
    if not rounds:
        return row

    with alone(lock):
        for kind, runs in contenders.items():
            for _ in range(2):  # warm at the second; then the slower memory format drops out
                single = {label: seconds(getattr(one, kind), 2) for label, one in eager.items()}
            fastest = min(single, key=single.get)
            runs["eager"] = getattr(eager[fastest], kind)
            times = take_turns(runs, rounds, turn_seconds)
            row[f"{kind}_ms"] = milliseconds(times["ours"])
            row[f"eager_{kind}_format"] = fastest
            for peer_label in sorted(times.keys() - {"ours"}):
                found = ratios(times[peer_label], times["ours"])
                row[f"{peer_label}_{kind}_ms"] = milliseconds(times[peer_label])
                row[f"{peer_label}_{kind}_ratio"] = round(statistics.median(found), 3)
                row[f"{peer_label}_{kind}_ratio_range"] = [
                    round(min(found), 3),
                    round(max(found), 3),
                ]
    return row


class Ours:
    """A model of cvjax: `forward(n)` and `step(n)` run n times and wait."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._model = create(name, num_classes=CLASSES, dtype=DTYPE)
        self._images = jnp.asarray(images)
        self._labels = jnp.arange(len(images)) % CLASSES
        variables = jax.jit(
            lambda x: self._model.init(jax.random.key(0), x, train=False),
            compiler_options={"xla_backend_optimization_level": 0} if not ON_GPU else {},
        )(self._images[:1])
        self._params = variables["params"]
        self._rest = {k: v for k, v in variables.items() if k != "params"}
        self._optimizer = optax.sgd(0.01, momentum=0.9)
        self._state = self._optimizer.init(self._params)
        self._key = jax.random.key(1)

    def compile_forward(self) -> None:
        def forward(params: Any, rest: Any, images: jax.Array) -> jax.Array:
            return self._model.apply({"params": params, **rest}, images, train=False)[0]

        jitted = jax.jit(forward, compiler_options=compiler_options())
        self._forward = jitted.lower(self._params, self._rest, self._images).compile()

    def compile_step(self) -> None:
        def step(params: Any, rest: Any, state: Any, key: jax.Array, images: jax.Array) -> Any:
            def loss(params: Any) -> Any:
                (logits, _), rest_ = self._model.apply(
                    {"params": params, **rest}, images, train=True, mutable=list(rest),
                    rngs={"dropout": key},
                )  # fmt: skip
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, self._labels)
                return losses.mean(), rest_

            gradients, rest_ = jax.grad(loss, has_aux=True)(params)
            updates, state = self._optimizer.update(gradients, state)
            return apply_updates(params, updates, gradients), rest_, state

        jitted = jax.jit(step, donate_argnums=(0, 1, 2), compiler_options=compiler_options())
        arguments = self._params, self._rest, self._state, self._key, self._images
        self._step = jitted.lower(*arguments).compile()

    def forward(self, times: int) -> None:
        for _ in range(times):
            logits = self._forward(self._params, self._rest, self._images)
        jax.block_until_ready(logits)

    def step(self, times: int) -> None:
        for _ in range(times):
            self._params, self._rest, self._state = self._step(
                self._params, self._rest, self._state, self._key, self._images
            )
        jax.block_until_ready(self._params)


class Theirs:
    """The peer's model, as a PyTorch user runs it: `forward(n)` and `step(n)` as `Ours`."""

    def __init__(
        self,
        library: str,
        name: str,
        images: np.ndarray,
        layout: torch.memory_format,
        *,
        compiled: bool = False,
    ) -> None:
        if library == "torchvision":
            import torchvision

            # Auxiliary classifiers are off on both sides.
            extra = {"aux_logits": False, "init_weights": True} if "ception" in name else {}
            extra = extra or ({"aux_logits": False} if name == "googlenet" else {})
            net = torchvision.models.get_model(name, weights=None, **extra)
        else:
            import timm

            net = timm.create_model(name, pretrained=False)
        self._device = "cuda" if ON_GPU else "cpu"
        self._net = net.to(self._device).to(memory_format=layout)
        self._call = torch.compile(self._net, dynamic=False) if compiled else self._net
        self._optimizer = torch.optim.SGD(self._net.parameters(), lr=0.01, momentum=0.9)
        image = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self._device)
        self._image = image.contiguous(memory_format=layout)
        self._label = torch.arange(len(images), device=self._device) % CLASSES

    def forward(self, times: int) -> None:
        self._net.eval()
        with torch.inference_mode(), self._autocast():
            for _ in range(times):
                self._call(self._image)
        self._wait()

    def step(self, times: int) -> None:
        self._net.train()
        for _ in range(times):
            self._optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                loss = F.cross_entropy(self._call(self._image), self._label)
            loss.backward()
            self._optimizer.step()
        self._wait()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=ON_GPU)

    def _wait(self) -> None:
        if ON_GPU:
            torch.cuda.synchronize()


if __name__ == "__main__":
    start_with_huge_pages()
    main()
