"""A training step of ours against PyTorch's, eager and compiled, in turn on one machine.

    python -m benchmarks.train_step [--rounds 7] [--turn_seconds 3] [--workloads small_cnn resnet18]
                                    [--lock FILE] [--out FILE]

Forward, backward and an SGD step with momentum on a batch that lies on the device. Ours is the step
that launch.py runs, from uint8 pictures, metrics and all. PyTorch takes float pictures, in both
memory formats, of which the faster counts. The contenders take turns in every round; times are
medians over the rounds, ratios medians of the rounds' ratios (above 1: ours is faster). float32 on
a CPU, bfloat16 (autocast there) on a GPU. Needs `torch`, which cvjax itself never imports.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import torch
import torch.nn.functional as F

from benchmarks.bare_step import BareStep, config_on_random_pictures
from benchmarks.device import ON_GPU
from benchmarks.torch_networks import network
from benchmarks.turns import alone, milliseconds, ratios, take_turns
from cvjax import build
from cvjax.process_memory import start_with_huge_pages
from cvjax.train.writer import environment

ROOT = Path(__file__).resolve().parents[1]
DTYPE = "bfloat16" if ON_GPU else "float32"
# name -> model fields, side, channels, batch on CPU and on GPU
WORKLOADS = {
    "small_cnn": (dict(name="small_cnn"), 28, 1, (128, 1024)),
    "resnet18": (dict(name="resnet18", stem="cifar"), 32, 3, (64, 1024)),
    "resnet50": (dict(name="resnet50"), 224 if ON_GPU else 96, 3, (16, 128)),
}


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    torch.backends.cudnn.benchmark = True  # as XLA, which tries its convolutions while compiling
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    turn_help = "one turn of a contender takes about this long, so that clocks and threads settle"
    parser.add_argument("--turn_seconds", type=float, default=0.5 if ON_GPU else 3, help=turn_help)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    default = ROOT / "benchmarks" / "results" / f"train_step_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--lock", type=Path, help="time while holding the lock of this file")
    options = parser.parse_args()
    columns = {
        "workload": "workload",
        "cvjax_ms": "cvjax, ms",
        "eager_ms": "torch eager, ms",
        "compiled_ms": "torch.compile, ms",
        "eager_ratio": "eager / cvjax",
        "compiled_ratio": "compiled / cvjax",
    }
    print("  ".join(columns.values()))
    rows = []
    for name in options.workloads:  # what was measured stays if a later one takes too long
        rows.append(measure(name, options.rounds, options.turn_seconds, options.lock))
        print("  ".join(str(rows[-1][key]) for key in columns), flush=True)
        result = {
            "command": "python -m benchmarks.train_step " + " ".join(sys.argv[1:]),
            "environment": {**environment(), "torch": torch.__version__},
            "unit": f"milliseconds a step, {DTYPE}; ratios above 1: cvjax is faster",
            "columns": columns,
            "rows": rows,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(name: str, rounds: int, turn_seconds: float, lock: Path | None) -> dict:
    """One row of the table."""
    model, size, channels, batches = WORKLOADS[name]
    batch = batches[ON_GPU]
    contenders: dict[str, Callable[[int], None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = config_on_random_pictures(
            Path(folder), dict(model, dtype=DTYPE), size=size, channels=channels, batch=batch,
            train=dict(steps=10**6),
        )  # fmt: skip
        contenders["cvjax"] = BareStep(build.experiment(config)).run
    cifar = model.get("stem") == "cifar"
    for layout in (torch.contiguous_format, torch.channels_last):
        label = "eager" if layout is torch.contiguous_format else "eager channels_last"
        contenders[label] = TorchStep(network(name, cifar=cifar), (batch, channels, size, size),
                                      layout).run  # fmt: skip
    try:
        shape = (batch, channels, size, size)
        compiled = TorchStep(network(name, cifar=cifar), shape, torch.channels_last, compiled=True)
        contenders["compiled"] = compiled.run
    except Exception as error:  # no C++ compiler, an unsupported Python: the row says so
        print(f"torch.compile does not run here: {type(error).__name__}", file=sys.stderr)

    with alone(lock):
        times = take_turns(contenders, rounds, turn_seconds)
    eager = min(("eager", "eager channels_last"), key=lambda key: statistics.median(times[key]))
    row = {
        "workload": f"{name}, {size}x{size}, batch {batch}",
        "cvjax_ms": milliseconds(times["cvjax"]),
        "eager_ms": milliseconds(times[eager]),
        "compiled_ms": milliseconds(times["compiled"]) if "compiled" in times else None,
        "eager_format": "channels_last" if "channels_last" in eager else "contiguous",
        "rounds": rounds,
    }
    for label, key in (("eager", eager), ("compiled", "compiled")):
        found = ratios(times.get(key, []), times["cvjax"])
        row[f"{label}_ratio"] = round(statistics.median(found), 3) if found else None
        row[f"{label}_ratio_range"] = (
            [round(min(found), 3), round(max(found), 3)] if found else None
        )
    return row


class TorchStep:
    """Forward, backward and an SGD step with momentum, as a PyTorch user writes them."""

    def __init__(
        self,
        net: torch.nn.Module,
        shape: tuple[int, ...],
        layout: torch.memory_format,
        *,
        compiled: bool = False,
    ) -> None:
        device = "cuda" if ON_GPU else "cpu"
        self._device = device
        self._net = net.to(device).to(memory_format=layout).train()
        self._optimizer = torch.optim.SGD(self._net.parameters(), lr=0.01, momentum=0.9)
        self._image = torch.rand(shape, device=device).contiguous(memory_format=layout)
        self._label = torch.arange(shape[0], device=device) % 10
        # Not dynamic: a second workload of one process would be compiled for any shape.
        self._forward = torch.compile(self._loss, dynamic=False) if compiled else self._loss
        self.run(2)

    def _loss(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self._device, torch.bfloat16, enabled=ON_GPU):
            return F.cross_entropy(self._net(image), label)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._optimizer.zero_grad(set_to_none=True)
            self._forward(self._image, self._label).backward()
            self._optimizer.step()
        if ON_GPU:
            torch.cuda.synchronize()


if __name__ == "__main__":
    start_with_huge_pages()
    main()
