"""What the loop costs on top of the bare jitted step: at most 3% of a step is the aim.

    python benchmarks/loop_overhead.py [--rounds 5] [--steps 300] [--out FILE]

Bare: the same compiled step on batches that already lie on the device, nothing else. Loop: reading,
transfer, log lines, TensorBoard and asynchronous, sealed checkpoints, as a user has them. Both take
the step from the same program; rounds alternate, and the median of the rounds' ratios counts.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import numpy as np  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from cvjax import build  # noqa: E402
from cvjax.data.pipeline import Reading, train_batches  # noqa: E402
from cvjax.train import loop  # noqa: E402
from cvjax.train.setup import prepare  # noqa: E402
from cvjax.train.sharding import place_batch  # noqa: E402
from cvjax.train.writer import environment  # noqa: E402
from cvjax.vis.records import read_records  # noqa: E402

LOG_EVERY = 25
CHECKPOINTS = 3  # asynchronous saves during a measured run
LIMIT = 1.03

WORKLOADS = {
    "small CNN, 28x28, batch 128": dict(model="small_cnn", size=28, channels=1, batch=128),
    "ResNet-20, 32x32, batch 128": dict(model="resnet20", size=32, channels=3, batch=128),
}


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    default = ROOT / "benchmarks" / "results" / f"loop_overhead_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, workload in WORKLOADS.items():
            # A slow step needs fewer repetitions for the same seconds.
            steps = options.steps if workload["model"] == "small_cnn" else options.steps // 3
            steps = max(steps // LOG_EVERY, 2) * LOG_EVERY
            rows.append(measure(name, workload, steps, options.rounds, Path(folder)))
    width = max(len(row["workload"]) for row in rows)
    print(f"{'workload':{width}}  bare ms  loop ms  loop / bare (min-max)")
    for row in rows:
        print(
            f"{row['workload']:{width}}  {row['bare_ms']:7.2f}  {row['loop_ms']:7.2f}  "
            f"{row['ratio']:.3f} ({row['ratio_min']:.3f}-{row['ratio_max']:.3f})"
        )
    command = "python benchmarks/loop_overhead.py " + " ".join(sys.argv[1:])
    columns = {
        "workload": "workload",
        "bare_ms": "bare step, ms",
        "loop_ms": "in the loop, ms",
        "ratio": "loop / bare",
    }
    result = {
        "command": command.strip(),
        "environment": environment(),
        "aim": f"loop / bare at most {LIMIT}",
        "columns": columns,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(name: str, workload: dict, steps: int, rounds: int, folder: Path) -> dict:
    """One row: medians over the rounds, bare and loop in turn."""
    experiment = build.experiment(config(workload, steps, folder))
    setup = prepare(experiment)
    bare_step = BareStep(experiment, setup)
    bare, looped = [], []
    for index in range(rounds):
        first = (bare_seconds, loop_seconds) if index % 2 == 0 else (loop_seconds, bare_seconds)
        for kind in first:
            if kind is bare_seconds:
                bare.append(kind(bare_step, steps - LOG_EVERY))
            else:
                looped.append(kind(experiment, folder / f"{workload['model']}_{index}", steps))
    ratios = [a / b for a, b in zip(looped, bare)]
    return {
        "workload": name,
        "bare_ms": round(1000 * statistics.median(bare), 3),
        "loop_ms": round(1000 * statistics.median(looped), 3),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_min": round(min(ratios), 4),
        "ratio_max": round(max(ratios), 4),
        "rounds": rounds,
        "steps": steps,
    }


def config(workload: dict, steps: int, folder: Path) -> ConfigDict:
    """A run of `steps` steps on random pictures, saved three times, never evaluated."""
    rng = np.random.default_rng(0)
    shape = (4096, workload["size"], workload["size"], workload["channels"])
    path = folder / f"{workload['model']}.npz"
    images = rng.integers(0, 256, shape, np.uint8)
    labels = np.arange(len(images)) % 10
    np.savez(path, x_train=images, y_train=labels, x_test=images[:100], y_test=labels[:100])
    return ConfigDict(
        dict(
            model=dict(name=workload["model"]),
            task=dict(name="classification"),
            data=dict(name="arrays", path=str(path), batch_size=workload["batch"]),
            optim=dict(name="momentum", lr=0.01),
            train=dict(
                steps=steps,
                log_every=LOG_EVERY,
                checkpoint_every=max(steps // CHECKPOINTS, 1),
                monitor="",
            ),
        )
    )


class BareStep:
    """The compiled step with its state and a few batches on the device."""

    def __init__(self, experiment: build.Experiment, setup: object) -> None:
        reading = Reading(batch_size=experiment.batch_size, rows=setup.rows)
        batches = train_batches(experiment.train_source, reading, seed=0)
        place = partial(place_batch, mesh=setup.mesh, batch_size=experiment.batch_size)
        self.batches = [place(next(batches)) for _ in range(8)]
        self.state = setup.init()
        self.step = setup.train_step


def bare_seconds(bare: BareStep, steps: int) -> float:
    """Seconds a step, over `steps` steps after some to warm up."""
    for _ in range(5):
        bare.state, report = bare.step(bare.state, bare.batches[0])
    jax.block_until_ready(report)
    started = time.perf_counter()
    for index in range(steps):
        bare.state, report = bare.step(bare.state, bare.batches[index % len(bare.batches)])
        # As in the loop: dispatch must not run arbitrarily far ahead.
        if index % LOG_EVERY == LOG_EVERY - 1:
            jax.block_until_ready(report)
    jax.block_until_ready(report)
    return (time.perf_counter() - started) / steps


def loop_seconds(experiment: build.Experiment, workdir: Path, steps: int) -> float:
    """Seconds a step from the first to the last log line of a whole run, saves included."""
    loop.run(experiment, workdir)
    records = [r for r in read_records(workdir / "metrics.jsonl") if "train/loss" in r]
    seconds = records[-1]["elapsed_seconds"] - records[0]["elapsed_seconds"]
    return seconds / (records[-1]["step"] - records[0]["step"])


if __name__ == "__main__":
    main()
