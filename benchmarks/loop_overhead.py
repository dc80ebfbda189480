"""What the loop costs on top of the bare jitted step: at most 3% of a step is the aim.

    python -m benchmarks.loop_overhead [--rounds 5] [--steps 300] [--out FILE]

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
from pathlib import Path

import jax

from benchmarks.bare_step import BareStep, config_on_random_pictures
from cvjax import build
from cvjax.process_memory import keep_step_memory, start_with_huge_pages
from cvjax.train import loop
from cvjax.train.experiment import Experiment
from cvjax.train.writer import environment
from cvjax.vis.records import read_records

ROOT = Path(__file__).resolve().parents[1]
LOG_EVERY = 25
CHECKPOINTS = 3  # asynchronous saves during a measured run
LIMIT = 1.03

WORKLOADS = {
    "small CNN, 28x28, batch 128": dict(
        model={"name": "small_cnn"}, size=28, channels=1, batch=128
    ),
    "ResNet-20, 32x32, batch 128": dict(model={"name": "resnet20"}, size=32, channels=3, batch=128),
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
            steps = options.steps if workload["size"] == 28 else options.steps // 3
            steps = max(steps // LOG_EVERY, 2) * LOG_EVERY
            rows.append(measure(name, workload, steps, options.rounds, Path(folder)))
    width = max(len(row["workload"]) for row in rows)
    print(f"{'workload':{width}}  bare ms  loop ms  loop / bare (min-max)")
    for row in rows:
        print(
            f"{row['workload']:{width}}  {row['bare_ms']:7.2f}  {row['loop_ms']:7.2f}  "
            f"{row['ratio']:.3f} ({row['ratio_min']:.3f}-{row['ratio_max']:.3f})"
        )
    command = "python -m benchmarks.loop_overhead " + " ".join(sys.argv[1:])
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
    train = dict(steps=steps, log_every=LOG_EVERY, checkpoint_every=max(steps // CHECKPOINTS, 1))
    config = config_on_random_pictures(folder, train=train, **workload)
    experiment = build.experiment(config)
    bare_step = BareStep(experiment)
    bare, looped = [], []
    for index in range(rounds):
        workdir = folder / f"{workload['model']['name']}_{index}"
        measures = [
            lambda: bare.append(bare_seconds(bare_step, steps - LOG_EVERY)),
            lambda workdir=workdir: looped.append(loop_seconds(experiment, workdir, steps)),
        ]
        for measure_one in measures if index % 2 == 0 else reversed(measures):
            measure_one()
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


def bare_seconds(bare: BareStep, steps: int) -> float:
    """Seconds a step, over `steps` steps after some to warm up."""
    bare.run(5)
    started = time.perf_counter()
    # As in the loop: dispatch must not run arbitrarily far ahead.
    bare.run(steps, wait_every=LOG_EVERY)
    return (time.perf_counter() - started) / steps


def loop_seconds(experiment: Experiment, workdir: Path, steps: int) -> float:
    """Seconds a step from the first to the last log line of a whole run, saves included."""
    loop.run(experiment, workdir)
    records = [r for r in read_records(workdir / "metrics.jsonl") if "train/loss" in r]
    seconds = records[-1]["elapsed_seconds"] - records[0]["elapsed_seconds"]
    return seconds / (records[-1]["step"] - records[0]["step"])


if __name__ == "__main__":
    start_with_huge_pages()
    keep_step_memory()
    main()
