"""Runs a claim, writes its result, and checks a committed result against claim and code."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvjax.train.writer import git_commit
from cvjax.vis.records import read_records
from experiments import machine
from experiments.claim import RESULTS, ROOT, Claim, Row, Training, Value, is_within

# A recomputed figure may differ from the committed one by rounding on another machine.
REPRODUCTION_TOLERANCE = 1e-5


def run_claim(name: str, claim: Claim, environment: Mapping[str, str]) -> dict[str, Any]:
    """The result of the claim: every row's figure and verdict, and what it was measured on.

    `environment` is that of the training processes.

    Raises:
        RuntimeError: if a training run fails.
    """
    command = f"python -m experiments --run {name}"
    runs: dict[Training, dict[str, Any]] = {}
    rows = []
    for row in claim.rows:
        if row.training is None:
            start = time.perf_counter()
            ours: Value | None = row.measure()
            minutes = round((time.perf_counter() - start) / 60, 4)
            how = {"command": command, "minutes": minutes, "machine": machine.cpu_kind()}
        else:
            if row.training not in runs:
                runs[row.training] = _train(name, len(runs), row.training, environment)
            run = runs[row.training]
            ours = None if run["missing"] else row.measure(run["records"])
            how = {key: run[key] for key in ("command", "minutes", "machine")}
        rows.append(_described(row) | {"ours": _plain(ours), "verdict": row.verdict(ours)} | how)
        print(f"  {rows[-1]['verdict']:>13}  {row.name}: {_plain(ours)}", flush=True)
    return {
        "claim": name,
        "statement": claim.statement,
        "source": claim.source,
        "command": command,
        "missing_data": "\n".join(run["missing"] for run in runs.values() if run["missing"]),
        "rows": rows,
        "versions": machine.versions(),
        "commit": git_commit(),
    }


def missing_data(training: Training) -> str:
    """What the training's data source lacks and how to get it; "" where the data is there.

    Overrides are not looked at: it is about the data that the config itself names.
    """
    from cvjax import build, config  # here: computing a row need not wait for every source

    try:
        build.experiment(config.load(str(ROOT / training.config)))
    except (FileNotFoundError, ImportError) as error:
        return str(error)
    return ""


def write_result(result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """The path of the JSON file that it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['claim']}.json"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def read_result(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The committed result of the claim; None where it was never run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def check_claim(
    name: str, claim: Claim, *, folder: Path = RESULTS, recompute: bool = True
) -> list[str]:
    """What is wrong with the committed result, [] if nothing.

    The result must be of the claim as it stands, its verdicts must follow from its figures and be
    the ones the claim states. With `recompute`, rows that need no training are computed again and
    compared.
    """
    result = read_result(name, folder)
    again = f"run `python -m experiments --run {name}` and commit the result"
    if result is None:
        return [f"{name}: there is no result; {again}"]
    stored = {row["name"]: row for row in result["rows"]}
    if list(stored) != [row.name for row in claim.rows]:
        return [f"{name}: the result has other rows than the claim; {again}"]
    problems = []
    for row in claim.rows:
        label, found = f"{name}, {row.name}", stored[row.name]
        stale = [key for key, value in _described(row).items() if found.get(key) != value]
        if stale:
            problems.append(f"{label}: the result has another {' and '.join(stale)}; {again}")
            continue
        ours = _value(found["ours"])
        verdict = row.verdict(ours)
        if found["verdict"] != verdict:
            problems.append(f"{label}: {ours} is stored as {found['verdict']!r} and is {verdict!r}")
        if ours is not None and (verdict == "held") != row.holds:
            stated = "hold" if row.holds else "not hold"
            problems.append(
                f"{label}: stated to {stated}, but ours is {ours} and expected is "
                f"{row.relation} {row.expected} (tolerance {row.tolerance})"
            )
        if recompute and row.training is None:
            problems += _differences(label, row, ours)
    return problems


def _differences(label: str, row: Row, ours: Value | None) -> list[str]:
    now = row.measure()
    if ours is not None and is_within(now, ours, max(row.tolerance, REPRODUCTION_TOLERANCE)):
        return []
    return [f"{label}: the result says {ours}, the code now gives {now}"]


def _train(
    name: str, index: int, training: Training, environment: Mapping[str, str]
) -> dict[str, Any]:
    # Command, minutes, machine and records of the run; or what data it misses.
    how = {"command": _command(training), "minutes": None, "machine": None}
    missing = missing_data(training)
    if missing:
        print(f"  {missing}", flush=True)
        return how | {"missing": missing}
    workdir = _fresh_workdir(f"{name}_{index}" if index else name)
    command = [sys.executable, *training.arguments(str(workdir.relative_to(ROOT)))]
    print(f"  $ {_command(training)}", flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=dict(environment))
    minutes = round((time.perf_counter() - start) / 60, 2)
    if done.returncode:
        raise RuntimeError(f"{name}: exit status {done.returncode} from {' '.join(command)}")
    accelerator = machine.accelerator_kind(_read_json(workdir / "environment.json"))
    kind = ", ".join(filter(None, (accelerator, machine.cpu_kind())))
    records = read_records(workdir / "metrics.jsonl")
    return how | {"minutes": minutes, "machine": kind, "missing": "", "records": records}


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _fresh_workdir(name: str) -> Path:
    # A workdir that holds a finished run would be resumed and so measure nothing.
    folder = ROOT / "runs" / "experiments"
    numbers = (f"{name}-{number}" for number in range(1, 10**6))
    workdir = next(folder / each for each in numbers if not (folder / each).exists())
    workdir.mkdir(parents=True)
    return workdir


def _command(training: Training) -> str:
    stem = Path(training.config.partition(":")[0]).stem
    return " ".join(["python", *training.arguments(f"runs/{stem}")])


def _described(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "relation": row.relation,
        "expected": _plain(row.expected),
        "tolerance": row.tolerance,
        "unit": row.unit,
        "holds": row.holds,
        "note": row.note,
    }


def _plain(value: Value | None) -> Any:
    # JSON knows neither tuples nor NaN.
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None if value is None else str(value)
    return int(value) if value == int(value) else float(value)


def _value(plain: Any) -> Value | None:
    if isinstance(plain, list):
        return tuple(plain)
    return float(plain) if isinstance(plain, str) else plain
