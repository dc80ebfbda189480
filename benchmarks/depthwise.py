"""Depthwise convolutions: ours, its two formulations, and PyTorch's, in turn on one machine.

    python -m benchmarks.depthwise [--rounds 9] [--turn_seconds 0.2] [--lock FILE]
                                   [--out FILE]

Forward pass and the gradients of the input and of the kernel at sizes that MobileNets,
EfficientNets and ConvNeXt meet; batch 16 and float32 on a CPU, 256 and bfloat16 on a GPU.
`cvjax.ops.depthwise` takes "taps" (sums of shifted slices) or "convolution" (XLA's) by platform;
both are timed, and the taps by plain differentiation too. PyTorch's time is that of its faster
memory format. Milliseconds, medians over the rounds. Needs torch.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import torch
import torch.nn.functional as F
from jax import lax

from benchmarks.device import ON_GPU
from benchmarks.turns import Run, alone, milliseconds, ratios, take_turns
from cvjax.ops import depthwise
from cvjax.ops.compiling import compiler_options
from cvjax.process_memory import start_with_huge_pages
from cvjax.train.writer import environment

ROOT = Path(__file__).resolve().parents[1]
DTYPE = "bfloat16" if ON_GPU else "float32"
BATCH = 256 if ON_GPU else 16
# side, channels, window, stride
LAYERS = [(112, 32, 3, 1), (56, 144, 3, 1), (56, 144, 3, 2), (14, 384, 3, 1), (28, 240, 5, 1),
          (56, 72, 5, 2), (56, 96, 7, 1), (14, 384, 7, 1)]  # fmt: skip
PASSES = ("forward", "input gradient", "kernel gradient")
COLUMNS = {
    "layer": "layer",
    "pass": "pass",
    "cvjax_ms": "cvjax, ms",
    "convolution_ms": "XLA's convolution, ms",
    "taps_ms": "taps, ms",
    "taps, plain_ms": "taps, plain gradient, ms",
    "torch_ms": "torch, ms",
    "torch_ratio": "torch / cvjax",
}


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    torch.backends.cudnn.benchmark = True
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn_seconds", type=float, default=0.05 if ON_GPU else 0.2)
    default = ROOT / "benchmarks" / "results" / f"depthwise_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--lock", type=Path, help="time while holding the lock of this file")
    options = parser.parse_args()
    rows = []
    print("  ".join(COLUMNS.values()))
    for layer in LAYERS:
        for which in PASSES:
            rows.append(measure(layer, which, options))
            print("  ".join(str(rows[-1].get(key)) for key in COLUMNS), flush=True)
    result = {
        "command": f"python -m benchmarks.depthwise --rounds {options.rounds} "
        f"--turn_seconds {options.turn_seconds}",
        "environment": {**environment(), "torch": torch.__version__},
        "unit": f"milliseconds, {DTYPE}, batch {BATCH}; ratios above 1: cvjax is faster",
        "columns": COLUMNS,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(layer: tuple[int, int, int, int], which: str, options: argparse.Namespace) -> dict:
    """One row of the table."""
    side, channels, window, stride = layer
    geometry = (stride, stride), ((window // 2, window // 2),) * 2, (1, 1)
    ways: dict[str, Callable] = {
        "cvjax": partial(
            depthwise.depthwise_conv, stride=geometry[0], padding=geometry[1], dilation=geometry[2]
        ),
        "convolution": lambda x, kernel: lax.conv_general_dilated(
            x, kernel, geometry[0], geometry[1], feature_group_count=channels,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
        "taps": lambda x, kernel: depthwise._on_cpu(x, kernel, *geometry),
        "taps, plain": lambda x, kernel: depthwise._sum_of_taps(x, kernel, *geometry),
    }  # fmt: skip
    contenders = {name: _ours(way, layer, which) for name, way in ways.items()}
    for name, layout in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
        contenders[name] = _theirs(layer, which, layout)
    with alone(options.lock):
        times = take_turns(contenders, options.rounds, options.turn_seconds)
    torch_times = min((times["NCHW"], times["NHWC"]), key=statistics.median)
    row = {"layer": f"{side}x{side}, {channels} channels, {window}x{window}, stride {stride}",
           "pass": which, "rounds": options.rounds}  # fmt: skip
    row |= {f"{name}_ms": milliseconds(times[name]) for name in times}
    row["torch_ms"] = milliseconds(torch_times)
    row["torch_ratio"] = round(statistics.median(ratios(torch_times, times["cvjax"])), 2)
    return row


def _ours(way: Callable, layer: tuple[int, int, int, int], which: str) -> Run:
    side, channels, window, stride = layer
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (BATCH, side, side, channels), DTYPE)
    kernel = jax.random.normal(keys[1], (window, window, 1, channels), DTYPE)
    out = -(-side // stride)
    dy = jax.random.normal(keys[2], (BATCH, out, out, channels), DTYPE)

    def work(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
        if which == "forward":
            return way(x, kernel)
        if which == "input gradient":
            return jax.vjp(lambda x: way(x, kernel), x)[1](dy)[0]
        return jax.vjp(lambda kernel: way(x, kernel), kernel)[1](dy)[0]

    compiled = jax.jit(work, compiler_options=compiler_options()).lower(x, kernel, dy).compile()

    def run(times: int) -> None:
        for _ in range(times):
            result = compiled(x, kernel, dy)
        jax.block_until_ready(result)

    run(1)
    return run


def _theirs(layer: tuple[int, int, int, int], which: str, layout: torch.memory_format) -> Run:
    side, channels, window, stride = layer
    options = dict(device="cuda" if ON_GPU else "cpu", dtype=getattr(torch, DTYPE))
    x = torch.randn((BATCH, channels, side, side), **options).contiguous(memory_format=layout)
    kernel = torch.randn((channels, 1, window, window), **options).contiguous(memory_format=layout)
    call = partial(F.conv2d, stride=stride, padding=window // 2, groups=channels)
    x.requires_grad_(which == "input gradient")
    kernel.requires_grad_(which == "kernel gradient")
    y = call(x, kernel)
    dy = torch.randn_like(y)
    wanted = x if which == "input gradient" else kernel

    def run(times: int) -> None:
        for _ in range(times):
            if which == "forward":
                call(x, kernel)
            else:
                torch.autograd.grad(y, wanted, dy, retain_graph=True)
        if ON_GPU:
            torch.cuda.synchronize()

    run(1)
    return run


if __name__ == "__main__":
    start_with_huge_pages()
    main()
