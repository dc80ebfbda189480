"""Runs a claim, writes its result, and checks a committed result against claim and code."""

import functools
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cvjax.train.writer import METRICS, git_commit
from cvjax.vis.records import read_records
from experiments import machine
from experiments.claim import NOT_RUN, RESULTS, ROOT, Claim, Row, Training, Value, is_within

# A recomputed figure may differ from the committed one by rounding on another machine.
REPRODUCTION_TOLERANCE = 1e-5
_KEPT = Path("runs") / "experiments" / "kept"  # from the repository's root
_DONE = "done.json"  # in the workdir of a kept run that has finished


def run_claim(
    name: str,
    claim: Claim,
    environment: Mapping[str, str],
    *,
    jobs: int = 1,
    finished_only: bool = False,
) -> dict[str, Any]:
    """The result of the claim: every row's figure and verdict, and what it was measured on.

    Runs of rows with repetitions are kept in `runs/experiments/kept`, for all claims that ask for
    them, and not repeated there unless their config's file has come to say something else. So a
    claim of many runs may be killed and goes on. `jobs` of them run at a time.

    Args:
        environment: that of the training processes.
        finished_only: of rows with repetitions, starts no run and counts those that are kept.

    Raises:
        RuntimeError: if a training run fails.
    """
    command = f"python -m experiments --run {name}"
    kept = _kept_runs(claim, environment, jobs=jobs, finished_only=finished_only)
    counted: set[Training] = set()  # whose minutes are another row's already
    runs: dict[Training, dict[str, Any]] = {}
    rows = []
    for row in claim.rows:
        if row.repetitions:
            ours, how = _repeated(row, kept, counted)
            how["command"] = command
            asked = {training for group in row.repetitions for training in group}
            if ours is None and not any(kept[each]["missing"] for each in asked & kept.keys()):
                how["verdict"] = NOT_RUN
        elif row.training is None:
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
    measured = {training: run for training, run in (runs | kept).items() if not run["missing"]}
    return {
        "claim": name,
        "statement": claim.statement,
        "source": claim.source,
        "command": command,
        "missing_data": "\n".join(
            dict.fromkeys(
                run["missing"] for run in (*runs.values(), *kept.values()) if run["missing"]
            )
        ),
        "rows": rows,
        "settings": {_command(training): run["settings"] for training, run in measured.items()},
        "versions": machine.versions(),
        "commit": git_commit(),
    }


def kept_folder(training: Training) -> Path:
    """Where that run of rows with repetitions is kept, from the repository's root.

    A run may start from another one's: `init_from` is that one's folder, and its row comes first.
    """
    code = hashlib.sha256(_command(training).encode()).hexdigest()[:12]
    return _KEPT / code


def missing_data(training: Training) -> str:
    """What the training's data source lacks and how to get it; "" where the data is there.

    Overrides are not looked at: it is about the data that the config itself names.
    """
    from cvjax import build, config  # here: computing a row need not wait for every source

    try:
        build.experiments(config.load(str(ROOT / training.config)))
    except (FileNotFoundError, ImportError) as error:
        return str(error)
    return ""


def write_result(result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """The path of the JSON file that it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['claim']}.json"
    _write_json(path, result)
    return path


def read_result(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The committed result of the claim; None where it was never run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def check_claim(
    name: str, claim: Claim, *, folder: Path = RESULTS, recompute: bool = True
) -> list[str]:
    """What is wrong with the committed result, [] if nothing.

    The result must be of the claim and its configs as they stand, its verdicts must follow from its
    figures and be the ones the claim states. With `recompute`, rows that need no training are
    computed again and compared.
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
        not_run = ours is None and found["verdict"] == NOT_RUN and row.repetitions
        if found["verdict"] != verdict and not not_run:
            problems.append(f"{label}: {ours} is stored as {found['verdict']!r} and is {verdict!r}")
        if ours is not None and (verdict == "held") != row.holds:
            stated = "hold" if row.holds else "not hold"
            problems.append(
                f"{label}: stated to {stated}, but ours is {ours} and expected is "
                f"{row.relation} {row.expected} (tolerance {row.tolerance})"
            )
        if row.repetitions and ours is not None and not _is_mean(ours, found["values"]):
            problems.append(f"{label}: {ours} is not the mean of {found['values']}")
        if recompute and row.recomputed and row.training is None and not row.repetitions:
            problems += _differences(label, row, ours)
    settings = result.get("settings", {})
    for training in _trainings(claim):
        command, now = _command(training), _settings(training)
        if settings.get(command, now) != now:
            problems.append(
                f"{name}: its config has changed since `{command}` was measured; {again}, or, if "
                f"no figure depends on the change, say so: `python -m experiments --same {name}`"
            )
    return problems


def accept_settings(name: str, claim: Claim, *, folder: Path = RESULTS) -> list[str]:
    """Takes configs that changed without a figure's doing so for those that were measured.

    Of the committed result and of the kept runs. It gives the commands of the runs concerned.

    Raises:
        ValueError: if there is no result.
    """
    result = read_result(name, folder)
    if result is None:
        raise ValueError(f"{name}: there is no result; `python -m experiments --run {name}`.")
    measured, changed = result.get("settings", {}), []
    for training in _trainings(claim):
        command, settings = _command(training), _settings(training)
        path = ROOT / kept_folder(training) / _DONE
        done = _read_json(path)
        if done.get("settings", settings) != settings:
            _write_json(path, done | {"settings": settings})
            changed.append(command)
        if measured.get(command, settings) != settings:
            measured[command] = settings
            changed.append(command)
    write_result(result, folder)
    return list(dict.fromkeys(changed))


def _trainings(claim: Claim) -> list[Training]:
    """The runs that its rows are read from, each once."""
    groups = [group for row in claim.rows for group in row.repetitions]
    groups += [(row.training,) for row in claim.rows if row.training is not None]
    return list(dict.fromkeys(training for group in groups for training in group))


def _repeated(
    row: Row, kept: Mapping[Training, Mapping[str, Any]], counted: set[Training]
) -> tuple[Value | None, dict[str, Any]]:
    """The mean over the repetitions whose runs are there, and how it was measured."""
    there = [
        group
        for group in row.repetitions
        if all(training in kept and not kept[training]["missing"] for training in group)
    ]
    values = [row.measure(*(kept[training]["records"] for training in group)) for group in there]
    fresh = {training for group in there for training in group} - counted
    counted |= fresh
    kinds = dict.fromkeys(kept[t]["machine"] for group in there for t in group)
    how = {
        "minutes": round(sum(kept[training]["minutes"] for training in fresh), 2),
        "machine": "; ".join(kinds) or None,
        "values": [_plain(value) for value in values],
    }
    return (statistics.fmean(values) if values else None), how


def _is_mean(ours: Value, values: list[Any]) -> bool:
    return bool(values) and is_within(ours, statistics.fmean(map(float, values)), 1e-9)


def _kept_runs(
    claim: Claim, environment: Mapping[str, str], *, jobs: int, finished_only: bool
) -> dict[Training, dict[str, Any]]:
    """What each run of rows with repetitions gave; the first repetition of every row comes first,
    so that a claim which is cut short has as many of each."""
    rows = [row.repetitions for row in claim.rows]
    rounds = range(max((len(groups) for groups in rows), default=0))
    groups = [groups[i] for i in rounds for groups in rows if i < len(groups)]
    trainings = list(dict.fromkeys(training for group in groups for training in group))
    # Repetitions of one program compile it once.
    environment = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / _KEPT / "compiled"), **environment}
    # And load a config's data once to see whether it is there.
    missing_of = functools.cache(lambda config: missing_data(Training(config)))

    def result_of(training: Training) -> dict[str, Any] | None:
        place, settings = ROOT / kept_folder(training), _settings(training)
        done = _read_json(place / _DONE)
        if done.get("settings") != settings:  # none has finished, or the config has changed
            if finished_only:
                return None
            shutil.rmtree(place, ignore_errors=True)  # of a call that was killed, or out of date
            missing = missing_of(training.config)
            run = _train_in(place, training, environment, missing=missing)
            if run["missing"]:
                return run
            done = {key: run[key] for key in ("command", "minutes", "machine", "settings")}
            done |= {"commit": git_commit()}
            _write_json(place / _DONE, done)
        else:
            print(f"  kept: {done['command']}", flush=True)
        return {**done, "missing": "", "records": _records(place)}

    failed = threading.Event()

    def result_unless_failed(training: Training) -> dict[str, Any] | None:
        if failed.is_set():
            return None
        try:
            return result_of(training)
        except BaseException:
            failed.set()  # start no more
            raise

    with ThreadPoolExecutor(jobs) as pool:
        results = dict(zip(trainings, pool.map(result_unless_failed, trainings)))
    return {training: result for training, result in results.items() if result is not None}


def _settings(training: Training) -> str:
    """A digest of what the training's config file says; its overrides are in its command."""
    from cvjax import config  # here: as in `missing_data`

    settings = config.load(str(ROOT / training.config)).to_json_best_effort(sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:12]


def _records(workdir: Path) -> list[dict[str, Any]]:
    """A run's metrics; of one with stages each stage's in order, with a field `stage`."""
    from cvjax.train.stages import STAGES  # here: as in `missing_data`

    stages = _read_json(workdir / STAGES).get("stages", [])
    if not stages:
        return read_records(workdir / METRICS)
    return [
        {**record, "stage": stage["stage"]}
        for stage in stages
        for record in read_records(workdir / stage["stage"] / METRICS)
    ]


def _differences(label: str, row: Row, ours: Value | None) -> list[str]:
    now = row.measure()
    if ours is not None and is_within(now, ours, max(row.tolerance, REPRODUCTION_TOLERANCE)):
        return []
    return [f"{label}: the result says {ours}, the code now gives {now}"]


def _train(
    name: str, index: int, training: Training, environment: Mapping[str, str]
) -> dict[str, Any]:
    workdir = _fresh_workdir(f"{name}_{index}" if index else name)
    return _train_in(workdir, training, environment, missing=missing_data(training))


def _train_in(
    workdir: Path, training: Training, environment: Mapping[str, str], *, missing: str
) -> dict[str, Any]:
    # Command, settings, minutes, machine and records of the run; or what data it misses.
    how = {"command": _command(training), "settings": _settings(training)}
    how |= {"minutes": None, "machine": None}
    if missing:
        print(f"  {missing}", flush=True)
        return how | {"missing": missing}
    workdir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *training.arguments(str(workdir.relative_to(ROOT)))]
    print(f"  $ {_command(training)}", flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=dict(environment))
    minutes = round((time.perf_counter() - start) / 60, 2)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode} from {' '.join(command)}")
    written = sorted(workdir.glob("**/environment.json"))  # one a stage
    accelerator = machine.accelerator_kind(_read_json(written[0]) if written else {})
    kind = ", ".join(filter(None, (accelerator, machine.cpu_kind())))
    records = _records(workdir)
    return how | {"minutes": minutes, "machine": kind, "missing": "", "records": records}


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _fresh_workdir(name: str) -> Path:
    # A workdir that holds a finished run would be resumed and so measure nothing.
    folder = ROOT / "runs" / "experiments"
    numbers = (f"{name}-{number}" for number in range(1, 10**6))
    return next(folder / each for each in numbers if not (folder / each).exists())


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
