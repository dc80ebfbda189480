"""The convolutions of ResNet-18 one by one: XLA's with our compiler options, XLA's, PyTorch's.

    python -m benchmarks.convolutions [--rounds 9] [--out FILE]

What docs/performance.md explains the training step with. Forward pass, gradient of the input and
gradient of the kernel of each 3x3 convolution that ResNet-18 has at 32x32, batch 64, float32; the
contenders take turns, times are medians. PyTorch's tensors are channels_last, its faster format
here. Needs `torch`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch
from jax import lax

from cvjax.ops.compiling import compiler_options
from cvjax.process_memory import keep_step_memory, start_with_huge_pages
from cvjax.train.writer import environment

ROOT = Path(__file__).resolve().parents[1]
BATCH, WINDOW, PADDING = 64, 3, 1
# side, channels, features, stride, how often in ResNet-18
LAYERS = [
    (32, 3, 64, 1, 1),
    (32, 64, 64, 1, 4),
    (32, 64, 128, 2, 1),
    (16, 128, 128, 1, 3),
    (16, 128, 256, 2, 1),
    (8, 256, 256, 1, 3),
    (8, 256, 512, 2, 1),
    (4, 512, 512, 1, 3),
]
PASSES = ("forward", "input gradient", "kernel gradient")
COLUMNS = {
    "layer": "layer",
    "pass": "pass",
    "count": "times",
    "cvjax_ms": "cvjax, ms",
    "default_ms": "XLA's default, ms",
    "torch_ms": "torch, ms",
    "ratio": "torch / cvjax",
}


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    default = ROOT / "benchmarks" / "results" / f"convolutions_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    rows = [row for layer in LAYERS for row in measure(*layer, options.rounds)]
    total = {"layer": "all of them", "pass": "all", "count": 1}
    for key in ("cvjax_ms", "default_ms", "torch_ms"):
        total[key] = round(sum(row["count"] * row[key] for row in rows), 1)
    rows.append({**total, "ratio": round(total["torch_ms"] / total["cvjax_ms"], 2)})
    print("  ".join(COLUMNS.values()))
    for row in rows:
        print("  ".join(str(row[key]) for key in COLUMNS))
    result = {
        "command": ("python -m benchmarks.convolutions " + " ".join(sys.argv[1:])).strip(),
        "environment": {**environment(), "torch": torch.__version__},
        "unit": "milliseconds, float32; ratios above 1: cvjax is faster",
        "columns": COLUMNS,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(
    side: int, channels: int, features: int, stride: int, count: int, rounds: int
) -> list[dict]:
    """A row for each pass of one layer."""
    rng = np.random.default_rng(0)
    out_side = side // stride
    x, kernel, dy = (
        rng.standard_normal(shape, np.float32)
        for shape in (
            (BATCH, side, side, channels),
            (WINDOW, WINDOW, channels, features),
            (BATCH, out_side, out_side, features),
        )
    )
    rows = []
    for which in PASSES:
        if channels == 3 and which == "input gradient":
            continue  # of the picture: nothing asks for it
        contenders = {
            "cvjax_ms": _xla(which, x, kernel, dy, stride, compiler_options()),
            "default_ms": _xla(which, x, kernel, dy, stride, {}),
            "torch_ms": _torch(which, x, kernel, dy, stride),
        }
        times = {name: [] for name in contenders}
        for name, run in [*contenders.items()] * (rounds + 2):
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
        row = {"layer": f"{side}x{side}, {channels} to {features}, stride {stride}", "pass": which}
        row["count"] = count
        # The first two turns warm up.
        row |= {name: round(1000 * statistics.median(t[2:]), 2) for name, t in times.items()}
        rows.append({**row, "ratio": round(row["torch_ms"] / row["cvjax_ms"], 2)})
    return rows


def _xla(
    which: str,
    x: np.ndarray,
    kernel: np.ndarray,
    dy: np.ndarray,
    stride: int,
    options: dict[str, str],
) -> Callable[[], None]:
    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        pads = [(PADDING, PADDING)] * 2
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=numbers
        )

    def run(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
        if which == "forward":
            return conv(x, kernel)
        if which == "input gradient":
            return jax.vjp(partial(conv, kernel=kernel), x)[1](dy)[0]
        return jax.vjp(partial(conv, x), kernel)[1](dy)[0]

    arrays = jax.device_put((x, kernel, dy))
    compiled = jax.jit(run, compiler_options=options).lower(*arrays).compile()
    return lambda: compiled(*arrays).block_until_ready()


def _torch(
    which: str, x: np.ndarray, kernel: np.ndarray, dy: np.ndarray, stride: int
) -> Callable[[], None]:
    layout = torch.channels_last
    x, dy = (torch.from_numpy(a.transpose(0, 3, 1, 2)).contiguous(memory_format=layout)
             for a in (x, dy))  # fmt: skip
    kernel = torch.from_numpy(kernel.transpose(3, 2, 0, 1)).contiguous(memory_format=layout)
    if which == "forward":
        return lambda: torch.nn.functional.conv2d(x, kernel, None, stride, PADDING)
    wanted = [which == "input gradient", which == "kernel gradient", False]
    return lambda: torch.ops.aten.convolution_backward(
        dy, x, kernel, None, [stride] * 2, [PADDING] * 2, [1, 1], False, [0, 0], 1, wanted
    )


if __name__ == "__main__":
    start_with_huge_pages()
    keep_step_memory()
    main()
