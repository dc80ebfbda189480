"""Seconds to draw pictures value by value, with and without caches, or all pixels at once; and
milliseconds of a training step of the same networks.

    python -m benchmarks.sampling [--batch 4] [--rounds 3] [--out FILE]

The plain sampler runs the whole network for every value (784 passes for 28x28, 1,024 for 32x32);
the cached one computes of each layer what the next pixel needs. Fresh weights: the time does not
depend on them. Rounds alternate and the median counts; compiling is left out. `same` says whether
both drew the same pictures from the same key. LSTMs over the map have no caches; the VAE draws all
pixels in one pass. A training step is loss and gradient of a batch of 16.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import cvjax.models
from cvjax.ops.compiling import compiler_options
from cvjax.process_memory import keep_step_memory, start_with_huge_pages
from cvjax.tasks.autoregressive import Autoregression
from cvjax.tasks.pixel_sampling import sample_cached, sample_plain
from cvjax.tasks.vae import VAETask
from cvjax.train.writer import environment

ROOT = Path(__file__).resolve().parents[1]
AIM = 10.0

SMALL = dict(width=32, depth=5, hidden=32)
COLOUR = dict(
    image_shape=(32, 32, 3), likelihood="logistic_mixture", components=5, width=36, depth=5,
    hidden=36,
)  # fmt: skip
WORKLOADS = {
    "PixelCNN, 28x28 binary": ("pixel_cnn", SMALL),
    "gated PixelCNN, 28x28 binary": ("gated_pixel_cnn", SMALL),
    "gated PixelCNN, 32x32 colour, logistic mixture": ("gated_pixel_cnn", COLOUR),
    "PixelRNN, Row LSTM, 28x28 binary": ("row_lstm", SMALL),
    "PixelRNN, Diagonal BiLSTM, 28x28 binary": ("diagonal_bilstm", SMALL),
    "VAE, 28x28 binary": ("vae", {}),
}


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    default = ROOT / "benchmarks" / "results" / f"sampling_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    rows = []
    width = max(map(len, WORKLOADS))
    print(f"{'workload':{width}}   plain s  cached s  plain / cached  same  training step, ms")
    for name in WORKLOADS:
        rows.append(row := measure(name, options.batch, options.rounds))
        cached, ratio = (str(row[name] or "-") for name in ("cached_s", "ratio"))
        print(
            f"{name:{width}}  {row['plain_s']:8.3f}  {cached:>8}  {ratio:>14}  {row['same']!s:>4}"
            f"  {row['train_ms']:.1f}",
            flush=True,
        )
    command = "python -m benchmarks.sampling " + " ".join(sys.argv[1:])
    result = {
        "command": command.strip(),
        "environment": environment(),
        "aim": f"plain / cached at least {AIM:g}",
        "columns": {
            "workload": f"{options.batch} pictures",
            "passes": "passes",
            "plain_s": "pass by pass, s",
            "cached_s": "with caches, s",
            "ratio": "plain / cached",
            "train_ms": "training step of 16, ms",
        },
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(name: str, batch: int, rounds: int) -> dict:
    """One row: medians over the rounds, both samplers in turn."""
    model_name, fields = WORKLOADS[name]
    model = cvjax.models.create(model_name, **fields)
    rngs = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = model.init(rngs, jnp.zeros((1, *model.image_shape)), train=True)
    samplers: dict[str, Callable] = {}
    if model_name == "vae":
        passes = 1
        samplers["plain"] = lambda key: VAETask(model).sample(variables, key, batch)["image"]
    else:
        height, width, _ = model.image_shape
        passes = height * width * model.distribution.groups
        samplers["plain"] = lambda key: sample_plain(model, variables, key, batch)
        if hasattr(model, "step"):
            samplers["cached"] = lambda key: sample_cached(model, variables, key, batch)
    key = jax.random.key(2)
    compiled = {which: _compiled(sampler, key) for which, sampler in samplers.items()}
    pictures: dict[str, np.ndarray] = {}
    seconds: dict[str, list[float]] = {which: [] for which in compiled}
    for index in range(rounds):
        order = list(compiled.items())
        for which, sampler in order if index % 2 == 0 else reversed(order):
            started = time.perf_counter()
            pictures[which] = np.asarray(sampler(key))
            seconds[which].append(time.perf_counter() - started)
    medians = {which: statistics.median(values) for which, values in seconds.items()}
    cached = medians.get("cached")
    return {
        "workload": name,
        "passes": passes,
        "plain_s": round(medians["plain"], 4),
        "cached_s": None if cached is None else round(cached, 4),
        "ratio": None if cached is None else round(medians["plain"] / cached, 1),
        "same": bool(np.array_equal(pictures["plain"], pictures["cached"])) if cached else None,
        "train_ms": round(1000 * training_seconds(model, variables), 2),
        "rounds": rounds,
    }


def training_seconds(model: nn.Module, variables: Any) -> float:
    """Of loss and gradient, the median of 9 after 2 to warm up."""
    binary = "dynamic" if model.likelihood == "bernoulli" else "none"
    task = (VAETask if hasattr(model, "latent") else Autoregression)(model, binarize=binary)
    image = jax.random.uniform(jax.random.key(3), (16, *model.image_shape))
    rngs = {"noise": jax.random.key(4), "dropout": jax.random.key(5)}
    batch = {"image": image}

    def gradient(variables: Any) -> Any:
        return jax.grad(lambda v: task.loss(v, batch, rngs)[0])(variables)

    step = _compiled(gradient, variables)
    seconds = []
    for _ in range(11):
        started = time.perf_counter()
        jax.block_until_ready(step(variables))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def _compiled(function: Callable, argument: Any) -> Callable:
    jitted = jax.jit(function, compiler_options=compiler_options())
    return jitted.lower(argument).compile()


if __name__ == "__main__":
    start_with_huge_pages()
    keep_step_memory()
    main()
