"""The tables of README.md and docs/, made from results: nobody types a measured figure.

A table stands between `<!-- table:NAME -->` and `<!-- /table -->`. NAME is

- `claims`: a line for every claim that was run;
- `trained`: the rows of every claim that one training run decides (those that compare several
  runs are too long for it);
- the name of a claim: its rows, from `experiments/results/NAME.json`;
- `benchmarks/NAME`: the rows of `benchmarks/results/NAME.json`, flat objects in "rows" or, by
  workload, in "results": {workload: rows}. "columns" in the file, {key: heading}, chooses, orders
  and names the columns, else every key with plain values is one. Below stand the machine, the
  "unit", the "aim" and the command, as far as the file has them.
"""

import json
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.claim import ROOT
from experiments.machine import machine_kind

_BLOCK = re.compile(r"<!-- table:(?P<name>[\w./-]+) -->\n(?P<body>.*?)<!-- /table -->", re.DOTALL)


def write_tables(document: Path, *, root: Path = ROOT) -> list[str]:
    """The names of the tables that it changed in `document`.

    Raises:
        ValueError: if a table's result does not exist, or a table is not closed.
    """
    text = document.read_text(encoding="utf-8")
    changed = []

    def replaced(block: re.Match[str]) -> str:
        body = render_table(block["name"], root=root)
        if body != block["body"]:
            changed.append(block["name"])
        return f"<!-- table:{block['name']} -->\n{body}<!-- /table -->"

    _require_closed(text, document)
    new = _BLOCK.sub(replaced, text)
    if new != text:
        partial = document.with_name(f".{document.name}.partial")
        partial.write_text(new, encoding="utf-8")
        os.replace(partial, document)
    return changed


def stale_tables(document: Path, *, root: Path = ROOT) -> list[str]:
    """What differs between the tables of `document` and the results, [] if nothing."""
    if not document.exists():
        return [f"{document.name} does not exist"]
    text = document.read_text(encoding="utf-8")
    try:
        _require_closed(text, document)
    except ValueError as error:
        return [str(error)]
    problems = []
    for block in _BLOCK.finditer(text):
        try:
            fresh = render_table(block["name"], root=root)
        except ValueError as error:
            problems.append(str(error))
            continue
        if fresh != block["body"]:
            problems.append(
                f"{document.name}: table {block['name']} differs from the results; "
                "run `python -m experiments --tables`"
            )
    return problems


def render_table(name: str, *, root: Path = ROOT) -> str:
    """The table's Markdown, ending with a line break.

    Raises:
        ValueError: if there is no result of that name.
    """
    results = root / "experiments" / "results"
    if name == "claims":
        return _claims(_all(results))
    if name == "trained":
        return _trained(_all(results))
    if name.startswith("benchmarks/"):
        folder, stem = root / "benchmarks" / "results", name.removeprefix("benchmarks/")
        return _benchmark(_load(folder / f"{stem}.json", name))
    return _claim(_load(results / f"{name}.json", name))


def format_value(value: Any, unit: str = "") -> str:
    """A figure with its unit for a reader: 421,642 · 26 × 26 × 32 · 98.61% · 2.303."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return " × ".join(format_value(part) for part in value) + (f" {unit}" if unit else "")
    if isinstance(value, str):
        return value
    if unit == "accuracy":
        text = f"{100 * value:.2f}".rstrip("0").rstrip(".")
        return f"{text}%"
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif abs(value) >= 1e4:
        text = f"{value:,.0f}"
    else:
        text = f"{value:,.4f}".rstrip("0") if abs(value) >= 1 else f"{value:.4g}"
    return f"{text} {unit}".rstrip()


def _claim(result: Mapping[str, Any]) -> str:
    rows = [
        [
            row["name"] + (f" ({row['note']})" if row["note"] else ""),
            _expected(row),
            _ours(row),
            row["verdict"],
        ]
        for row in result["rows"]
    ]
    table = _markdown(["figure", "expected", "ours", "verdict"], rows, figures=(1, 2))
    return f"{table}\n{_measured(result['rows'], result)} `{result['command']}`\n"


def _claims(results: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for result in results:
        verdicts = Counter(row["verdict"] for row in result["rows"])
        rows.append(
            [
                result["statement"],
                result["source"],
                ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()),
                f"{_minutes(result['rows']):.1f}",
                f"`{result['command']}`",
            ]
        )
    return _markdown(["claim", "source", "rows", "minutes", "command"], rows, figures=(3,))


def _trained(results: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [
            f"`{row['command']}`",
            row["name"],
            _expected(row),
            format_value(row["ours"], row["unit"]),
            row["verdict"],
            format_value(row["minutes"]),
            row["machine"] or "–",
        ]
        for result in results
        for row in _of_one_run(result)
    ]
    heads = ["command", "figure", "expected", "ours", "verdict", "minutes in all", "machine"]
    return _markdown(heads, rows, figures=(2, 3, 5))


def _of_one_run(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = [row for row in result["rows"] if row["command"] != result["command"]]
    return rows if len({row["command"] for row in rows}) == 1 else []


def _benchmark(result: Mapping[str, Any]) -> str:
    entries = _entries(result)
    plain = [
        key
        for key in dict.fromkeys(key for entry in entries for key in entry)
        if not any(isinstance(entry.get(key), list | dict) for entry in entries)
    ]
    columns = result.get("columns") or {key: key.replace("_", " ") for key in plain}
    rows = [[format_value(entry.get(key)) for key in columns] for entry in entries]
    figures = [
        index
        for index, key in enumerate(columns)
        if all(isinstance(entry.get(key), int | float | None) for entry in entries)
    ]
    table = _markdown(list(columns.values()), rows, figures=figures)
    said = [str(result[key]) for key in ("machine", "device", "unit", "aim") if result.get(key)]
    environment = result.get("environment")
    if isinstance(environment, Mapping):
        said.insert(0, machine_kind(environment))
    if result.get("command"):
        said.append(f"`{str(result['command']).strip()}`")
    return f"{table}\n{'; '.join(said)}\n" if said else table


def _entries(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "rows" in result:
        return list(result["rows"])
    return [
        {"workload": workload} | row for workload, rows in result["results"].items() for row in rows
    ]


def _expected(row: Mapping[str, Any]) -> str:
    sign = {"at least": "≥ ", "at most": "≤ "}.get(row["relation"], "")
    about = " ± " + format_value(row["tolerance"]) if row["tolerance"] else ""
    if about and row["unit"] == "accuracy":
        about = " ± " + format_value(row["tolerance"], "accuracy")
    return sign + format_value(row["expected"], row["unit"]) + about


def _ours(row: Mapping[str, Any]) -> str:
    """The figure; of repetitions their mean ± standard deviation, and how many of them ran."""
    text = format_value(row["ours"], row["unit"])
    values = [float(value) for value in row.get("values", ())]
    if len(values) < 2:
        return f"{text} (1 run)" if values else text
    spread = format_value(statistics.stdev(values), row["unit"])
    return f"{text} ± {spread} ({len(values)} runs)"


def _measured(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> str:
    kinds = dict.fromkeys(row["machine"] for row in rows if row["machine"])
    where = "; ".join(kinds) or "not measured"
    versions = result["versions"]
    return f"{where}; {_minutes(rows):.1f} minutes; jax {versions['jax']}, flax {versions['flax']}."


def _minutes(rows: Iterable[Mapping[str, Any]]) -> float:
    # Rows that read one training run share its minutes.
    shared: dict[str, float] = {}
    own = 0.0
    for row in rows:
        if row["command"].startswith("python launch.py"):
            shared[row["command"]] = row["minutes"] or 0.0
        else:
            own += row["minutes"] or 0.0
    return own + sum(shared.values())


def _markdown(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, figures: Iterable[int]
) -> str:
    right = set(figures)
    rule = ["---:" if index in right else "---" for index in range(len(heads))]
    lines = [heads, rule, *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _all(folder: Path) -> list[dict[str, Any]]:
    return [_load(path, path.stem) for path in sorted(folder.glob("*.json"))]


def _load(path: Path, name: str) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"table {name}: there is no {path.name} in {path.parent}") from None
    if not isinstance(result, dict):
        raise ValueError(f"table {name}: {path.name} holds no JSON object")
    rows, results = result.get("rows"), result.get("results")
    by_workload = isinstance(results, dict) and all(map(_is_list, results.values()))
    if not (_is_list(rows) or by_workload):
        raise ValueError(f"table {name}: {path.name} has neither a list of rows nor results")
    return result


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _require_closed(text: str, readme: Path) -> None:
    opened = re.findall(r"<!-- table:(.*?) -->", text)
    closed = [block["name"] for block in _BLOCK.finditer(text)]
    if opened != closed or text.count("<!-- /table -->") != len(closed):
        raise ValueError(
            f"{readme.name}: the tables {sorted(set(opened) - set(closed)) or opened} need an "
            "opening line `<!-- table:NAME -->` and a closing line `<!-- /table -->`"
        )
