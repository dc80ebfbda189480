"""One self-contained page about a run, `report.html`, made from the files in its workdir.

Style, curves and pictures are inside the page; its content security policy forbids the network.
Whatever the workdir does not hold (yet) is named on the page instead of being an error, because a
report is worth most for a run that went wrong.
"""

import base64
import io
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.image import imsave

from cvjax.vis import records as rec
from cvjax.vis.curves import DARK, LIGHT, MAX_PANELS, Panel, Theme, curve_panels, curves_figure
from cvjax.vis.diagnosis import Finding, diagnose, guessing_figures

# A confusion matrix of more classes than this is a picture: its cells could not be read anyway.
MAX_TABLE_CLASSES = 25
MAX_CONFUSED_PAIRS = 12
# Classes shown at once; the others are one click away.
MAX_OPEN_CLASSES = 30
MAX_SKIPPED_ROWS = 50
# Pictures beyond this are named, not shown, so that the page stays one that can be mailed.
MAX_PICTURE_BYTES = 12 * 2**20
_SHARES = ("accuracy", "recall", "precision")
PICTURE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


class Evaluation(NamedTuple):
    """One file of `evals/`: the last evaluation of a split in full."""

    name: str
    step: float | None
    scalars: dict[str, float]
    class_names: list[str]  # "0", "1", ... where the data set names none
    confusion: np.ndarray | None  # [K, K], rows are the truth
    class_accuracy: np.ndarray | None  # [K], NaN for a class without examples


class _Run(NamedTuple):
    workdir: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    records: list[dict[str, Any]]
    evaluations: list[Evaluation]
    guessing: dict[str, float]
    missing: list[str]


def write_report(workdir: str | Path) -> Path:
    """The path of the `report.html` that it writes into `workdir`, whole or not at all.

    Raises:
        NotADirectoryError: if `workdir` is no folder. Files that are missing or broken in it
            never raise; the page names them.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise NotADirectoryError(f"write_report: {workdir} is no folder; give a run's workdir.")
    page = render_report(workdir)
    path = workdir / "report.html"
    partial = path.with_name(".report.html.partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def render_report(workdir: Path) -> str:
    """The page as text."""
    run = _read_run(workdir)
    name = workdir.resolve().name
    body = [_header(run, name)]
    for title, section in (
        ("Diagnosis", _diagnosis_section),
        ("Curves", _curves_section),
        ("Figures", _figures_section),
        ("Evaluations", _evaluations_section),
        ("Pictures", _pictures_section),
        ("Skipped examples", _skipped_section),
        ("Configuration", _configuration_section),
        ("Environment", _environment_section),
        ("Not there", _missing_section),
    ):
        content = _guarded(section, run, title)
        if content:
            anchor = title.lower().replace(" ", "-")
            body.append(f'<section id="{anchor}"><h2>{title}</h2>{content}</section>')
    return _PAGE.format(title=escape(name), style=_STYLE, body="\n".join(body))


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation in a file of `evals/`.

    Raises:
        ValueError: if the file is no JSON object.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    flat: dict[str, Any] = {}
    for key, value in content.items():  # figures lie at the top or in "scalars" and "arrays"
        flat |= value if isinstance(value, dict) else {key: value}
    scalars = {
        rec.metric_of(key): number
        for key, value in flat.items()
        if key != "step" and (number := rec.as_number(value)) is not None
    }
    confusion = _array(_named(flat, "confusion"), rank=2)
    if confusion is not None and confusion.shape[0] != confusion.shape[1]:
        confusion = None
    class_accuracy = _array(_named(flat, "class_accuracy"), rank=1)
    count = len(confusion) if confusion is not None else 0
    count = count or (len(class_accuracy) if class_accuracy is not None else 0)
    names = flat.get("class_names")
    names = [str(name) for name in names] if isinstance(names, list | tuple) else []
    names = [*names, *(str(index) for index in range(len(names), count))]
    return Evaluation(
        path.stem, rec.as_number(flat.get("step")), scalars, names, confusion, class_accuracy
    )


def confused_pairs(confusion: np.ndarray, limit: int) -> list[tuple[int, int, int, float]]:
    """The `limit` commonest errors: (truth, prediction, count, share of the truth's examples)."""
    totals = confusion.sum(axis=1)
    shares = confusion / np.where(totals > 0, totals, 1)[:, None]
    true, guess = np.nonzero(confusion * (1 - np.eye(len(confusion))))
    order = np.lexsort((guess, true, -shares[true, guess], -confusion[true, guess]))[:limit]
    return [
        (int(i), int(j), int(confusion[i, j]), float(shares[i, j]))
        for i, j in zip(true[order], guess[order])
    ]


def format_figure(metric: str, value: float) -> str:
    """`value` for a reader: shares of examples in percent, everything else with four digits."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if any(word in metric for word in _SHARES) and 0 <= value <= 1:
        return f"{value:.2%}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def format_duration(seconds: float) -> str:
    """`seconds` as "41 s", "3 min 05 s" or "2 h 07 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


# Reading the workdir


def _read_run(workdir: Path) -> _Run:
    missing: list[str] = []
    config = _read_object(workdir / "config.json", missing)
    environment = _read_object(workdir / "environment.json", missing)
    records = rec.read_records(workdir / "metrics.jsonl")
    if not records:
        state = "has no readable line" if (workdir / "metrics.jsonl").exists() else "does not exist"
        missing.append(f"metrics.jsonl {state}")
    evaluations = []
    for path in sorted((workdir / "evals").glob("*.json")):
        try:
            evaluations.append(read_evaluation(path))
        except (OSError, ValueError, TypeError) as error:
            missing.append(f"evals/{path.name} cannot be read: {error}")
    if not any((workdir / "evals").glob("*.json")):
        missing.append("evals/ holds no evaluation")
    return _Run(
        workdir,
        config,
        environment,
        records,
        evaluations,
        _guessing(config, evaluations),
        missing,
    )


def _read_object(path: Path, missing: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append(f"{path.name} does not exist")
        return {}
    except (OSError, ValueError) as error:
        missing.append(f"{path.name} cannot be read: {error}")
        return {}
    if not isinstance(content, dict):
        missing.append(f"{path.name} holds no JSON object")
        return {}
    return content


def _guessing(config: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> dict[str, float]:
    task = _section(config, "task")
    if task.get("name", "classification") != "classification":
        return {}
    classes = _section(config, "model").get("num_classes")
    if not isinstance(classes, int):
        classes = max((len(one.class_names) for one in evaluations), default=0)
    loss = task.get("loss_name", task.get("loss", "softmax"))
    return guessing_figures(str(loss), classes, margin=float(task.get("margin", 1.0)))


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _named(flat: Mapping[str, Any], word: str) -> Any:
    return next((v for k, v in flat.items() if isinstance(v, list) and word in k), None)


def _array(value: Any, *, rank: int) -> np.ndarray | None:
    if value is None:
        return None
    try:
        array = np.asarray(value, float)  # None becomes NaN
    except (TypeError, ValueError):
        return None
    return array if array.ndim == rank and array.size else None


# Sections, each a function run -> HTML, "" where there is nothing to say


def _guarded(section: Callable[[_Run], str], run: _Run, title: str) -> str:
    # The page comes at the end of hours of training: one section that trips over an unforeseen
    # file must not take the others with it.
    try:
        return section(run)
    except Exception as error:
        logging.getLogger(__name__).exception("report: section %s failed", title)
        return f"<p class=problem>This section could not be made: {_text(repr(error))}</p>"


def _header(run: _Run, name: str) -> str:
    said = [
        str(part.get("name"))
        for part in (_section(run.config, key) for key in ("task", "model", "data"))
        if part.get("name")
    ]
    steps = rec.series(run.records, "step").steps
    if len(steps):
        said.append(f"step {steps[-1]:,.0f}")
    seconds = rec.series(run.records, "elapsed_seconds").finite().values
    if len(seconds):
        said.append(format_duration(float(seconds[-1])))
    tiles = "".join(
        f"<div class=tile><div class=label>{_text(label)}</div><div class=value>{value}</div>"
        f"<div class=label>{_text(below)}</div></div>"
        for label, value, below in _tiles(run)
    )
    return (
        f"<header><h1>{_text(name)}</h1><p class=muted>{_text(' · '.join(said))}</p>"
        f"<div class=tiles>{tiles}</div></header>"
    )


def _tiles(run: _Run) -> list[tuple[str, str, str]]:
    # The few figures that people scroll for.
    tiles = []
    names = rec.result_names(run.records)
    train = run.config.get("train")
    monitor = str(train.get("monitor", "")) if isinstance(train, dict) else ""
    for split in [*rec.eval_splits(run.records), rec.TRAIN_SPLIT]:
        watched = [rec.metric_of(monitor)] if rec.split_of(monitor) == split else []
        for metric in dict.fromkeys([*watched, "accuracy", "loss"]):
            name = f"{split}/{metric}"
            points = rec.series(run.records, name)
            if name not in names or not len(points.values):
                continue
            end = float(points.values[-1])
            below = f"at step {points.steps[-1]:,.0f}"
            best = rec.best_point(points, higher_is_better=rec.is_higher_better(metric))
            if split != rec.TRAIN_SPLIT and best is not None:
                better = f"best {format_figure(metric, best[1])} at step {best[0]:,.0f}"
                below = f"{below}, the best" if best[1] == end else better
            tiles.append((f"{split} {metric}", _text(format_figure(metric, end)), below))
    for name in rec.field_names(run.records):
        if rec.is_rate(name) and rec.split_of(name) in ("", rec.TRAIN_SPLIT):
            values = rec.series(run.records, name).finite().values
            if len(values):
                label = rec.metric_of(name).removesuffix("_per_second").replace("_", " ")
                tiles.append((f"{label} per second", f"{np.median(values):,.0f}", "median"))
    return tiles[:8]


def _diagnosis_section(run: _Run) -> str:
    num_examples = {
        one.name: int(one.scalars["num_examples"])
        for one in run.evaluations
        if math.isfinite(one.scalars.get("num_examples", math.nan))
    }
    findings = diagnose(run.records, guessing=run.guessing, num_examples=num_examples)
    return "".join(_finding_card(finding) for finding in findings)


def _finding_card(finding: Finding) -> str:
    figures = " · ".join(
        f"{name.replace('_', ' ')} {format_figure(name, value)}"
        for name, value in finding.figures.items()
    )
    advice = f"<p>{_text(finding.advice)}</p>" if finding.advice else ""
    return (
        f'<div class="card {finding.severity}"><h3>{_text(finding.verdict)}</h3>'
        f"<p>{_text(finding.summary)}</p>{advice}<p class=muted>{_text(figures)}</p></div>"
    )


def _curves_section(run: _Run) -> str:
    # A picture a panel, so that a phone shows them below each other.
    pictures = "".join(_curve(run, panel) for panel in curve_panels(run.records)[:MAX_PANELS])
    if not pictures:
        return ""
    return (
        f"<div class=curves>{pictures}</div>"
        "<p class=muted>Training curves are drawn raw (faint) and as a moving average; dots are "
        "evaluations, a ring is the best one.</p>"
    )


def _curve(run: _Run, panel: Panel) -> str:
    light, dark = (_data_uri(_curve_png(run, panel, theme)) for theme in (LIGHT, DARK))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img class=wide alt="{_text(panel.title)} against step" src="{light}"></picture>'
    )


def _curve_png(run: _Run, panel: Panel, theme: Theme) -> bytes:
    buffer = io.BytesIO()
    figure = curves_figure(run.records, panels=[panel], guessing=run.guessing, theme=theme)
    figure.savefig(buffer, format="png", dpi=130, facecolor=theme.background)
    return buffer.getvalue()


def _figures_section(run: _Run) -> str:
    rows = []
    for name in rec.result_names(run.records):
        metric = rec.metric_of(name)
        every = rec.series(run.records, name)
        points = every.finite()
        best = rec.best_point(points, higher_is_better=rec.is_higher_better(metric))
        if best is None:
            rows.append([_text(name), "NaN", "", "", f"{len(every.values):,}"])
            continue
        shown = ["", ""]
        if rec.has_best(metric):
            shown = [_text(format_figure(metric, best[1])), f"{best[0]:,.0f}"]
        end = _text(format_figure(metric, float(every.values[-1])))
        rows.append([_text(name), end, *shown, f"{len(every.values):,}"])
    return _table(["", "last", "best", "at step", "points"], rows) if rows else ""


def _evaluations_section(run: _Run) -> str:
    return "".join(_evaluation(one) for one in run.evaluations)


def _evaluation(one: Evaluation) -> str:
    at = f" at step {one.step:,.0f}" if one.step is not None and math.isfinite(one.step) else ""
    rows = [[_words(key), _text(format_figure(key, v))] for key, v in one.scalars.items()]
    scalars = f"<h4>Figures</h4>{_table(None, rows)}" if rows else ""
    confusion = pairs = ""
    if one.confusion is not None:
        confusion = f"<h4>Confusion matrix</h4>{_confusion(one.confusion, one.class_names)}"
        pairs = _confused(one.confusion, one.class_names)
    columns = _columns(scalars, pairs) + _columns(confusion, _classes(one))
    return f"<h3>{_text(one.name)}{at}</h3>{columns}"


def _confusion(confusion: np.ndarray, names: Sequence[str]) -> str:
    totals = confusion.sum(axis=1)
    shares = confusion / np.where(totals == 0, 1, totals)[:, None]
    caption = "<p class=muted>Rows are the true classes, columns the predictions{}.</p>"
    if len(confusion) > MAX_TABLE_CLASSES:
        return (
            f'<img class="wide pixels" alt="confusion matrix" '
            f'src="{_data_uri(_confusion_png(shares))}">'
            + caption.format("; a cell's brightness is its share of the row (square root)")
        )
    head = "".join(f"<th class=turn><span>{_text(name)}</span></th>" for name in names)
    rows = []
    for true, name in enumerate(names[: len(confusion)]):
        cells = "".join(
            f"<td class={'hit' if true == guess else 'miss'} "
            f'style="--share:{_emphasis(shares[true, guess]):.0f}%" '
            f'title="{_text(name)} taken for {_text(names[guess])}: {shares[true, guess]:.1%}">'
            f"{_count(confusion[true, guess])}</td>"
            for guess in range(len(confusion))
        )
        rows.append(f"<tr><th>{_text(name)}</th>{cells}</tr>")
    return (
        f"<div class=scroll><table class=confusion><tr><th></th>{head}</tr>{''.join(rows)}</table>"
        "</div>" + caption.format("")
    )


def _emphasis(share: float) -> float:
    # Square root: errors of a percent must be seen beside a diagonal of 98.
    return 90 * math.sqrt(min(max(share, 0.0), 1.0))


def _count(value: float) -> str:
    return f"{value:,.0f}" if value else "·"


def _confusion_png(shares: np.ndarray) -> bytes:
    size = len(shares)
    scale = max(1, 600 // size)
    pixels = np.kron(np.sqrt(np.clip(shares, 0, 1)), np.ones((scale, scale)))
    buffer = io.BytesIO()
    imsave(buffer, pixels, cmap="magma", vmin=0, vmax=1, format="png")
    return buffer.getvalue()


def _confused(confusion: np.ndarray, names: Sequence[str]) -> str:
    pairs = confused_pairs(confusion, MAX_CONFUSED_PAIRS)
    if not pairs:
        return "<p>Not a single example is confused.</p>"
    rows = [
        [_text(names[true]), _text(names[guess]), f"{count:,}", f"{share:.1%}"]
        for true, guess, count, share in pairs
    ]
    heads = ["truth", "taken for", "times", "of that class"]
    return "<h4>Most confused pairs</h4>" + _table(heads, rows, words=2)


def _classes(one: Evaluation) -> str:
    heads = ["class", "accuracy", ""]
    if one.confusion is not None:
        totals, predicted = one.confusion.sum(axis=1), one.confusion.sum(axis=0)
        hits = np.diag(one.confusion)
        accuracy = np.where(totals > 0, hits / np.where(totals > 0, totals, 1), math.nan)
        precision = np.where(predicted > 0, hits / np.where(predicted > 0, predicted, 1), math.nan)
        heads += ["precision", "examples"]
        more = [
            [_share(precision[k], nothing="never predicted"), f"{totals[k]:,.0f}"]
            for k in range(len(accuracy))
        ]
    elif one.class_accuracy is not None:
        accuracy = one.class_accuracy
        more = [[] for _ in accuracy]
    else:
        return ""
    order = np.argsort(np.where(np.isnan(accuracy), math.inf, accuracy), kind="stable")
    rows = [
        [_text(one.class_names[k]), _share(accuracy[k]), _bar(accuracy[k]), *more[k]] for k in order
    ]
    shown = _table(heads, rows[:MAX_OPEN_CLASSES])
    rest = rows[MAX_OPEN_CLASSES:]
    if rest:
        shown += _details(f"{len(rest):,} more classes", _table(heads, rest))
    return "<h4>Classes, the hardest first</h4>" + shown


def _share(value: float, *, nothing: str = "no examples") -> str:
    return nothing if math.isnan(value) else f"{value:.1%}"


def _bar(value: float) -> str:
    width = 0.0 if math.isnan(value) else 100 * min(max(value, 0.0), 1.0)
    return f'<div class=bar><div style="width:{width:.1f}%"></div></div>'


def _pictures_section(run: _Run) -> str:
    parts, total = [], 0
    for path in _pictures(run.workdir):
        content = path.read_bytes()
        total += len(content)
        if total > MAX_PICTURE_BYTES:
            total -= len(content)
            size = f"{len(content) / 2**20:.1f} MB"
            parts.append(
                f"<p>{_text(path.name)} ({size}) is left out: the page would grow big.</p>"
            )
            continue
        caption = _text(path.stem.replace("_", " "))
        uri = _data_uri(content, PICTURE_TYPES[path.suffix.lower()])
        parts.append(
            f'<figure><img class=sample alt="{caption}" src="{uri}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "".join(parts)


def _pictures(workdir: Path) -> list[Path]:
    folder = workdir / "samples"
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_TYPES)
    return sorted((path for path in found if path.is_file()), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    # step_900.png comes before step_1000.png.
    return [
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))
    ]


def _skipped_section(run: _Run) -> str:
    skipped: dict[str, str] = {}
    for path in sorted(run.workdir.glob("skipped*.log")):  # one a process
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            skipped |= _skipped_example(line)
    if not skipped:
        return ""
    counts = Counter(skipped.values())
    summary = _table(
        ["reason", "examples"],
        [[_text(reason), f"{count:,}"] for reason, count in counts.most_common(MAX_SKIPPED_ROWS)],
    )
    rows = [[_text(name), _text(reason)] for name, reason in skipped.items()][:MAX_SKIPPED_ROWS]
    more = len(skipped) - len(rows)
    after = f"<p class=muted>and {more:,} more, named in skipped.log</p>" if more else ""
    table = _table(["example", "reason"], rows, words=2)
    files = _details(f"which ({len(skipped):,})", table + after)
    return f"<p>{len(skipped):,} examples could not be used and were left out.</p>{summary}{files}"


def _skipped_example(line: str) -> dict[str, str]:
    # A line is a JSON object with "example" and "reason", or the two with a tab between.
    try:
        entry = json.loads(line)
        return {str(entry["example"]): str(entry["reason"])}
    except (ValueError, KeyError, TypeError):
        name, tab, reason = line.partition("\t")
        return {name: reason} if tab else {}


def _configuration_section(run: _Run) -> str:
    if not run.config:
        return ""
    parts = []
    plain = {key: value for key, value in run.config.items() if not isinstance(value, Mapping)}
    sections = {key: value for key, value in run.config.items() if isinstance(value, Mapping)}
    for title, section in [("", plain), *sections.items()]:
        rows = [[f"<code>{_text(key)}</code>", _code(value)] for key, value in _flat(section)]
        if rows:
            parts.append(
                (f"<h4>{_text(title)}</h4>" if title else "") + _table(None, rows, words=2)
            )
    return _details("config.json", "".join(parts))


def _environment_section(run: _Run) -> str:
    if not run.environment:
        return ""
    rows = [[f"<code>{_text(key)}</code>", _code(value)] for key, value in _flat(run.environment)]
    return _details("environment.json", _table(None, rows, words=2))


def _missing_section(run: _Run) -> str:
    missing = list(run.missing)
    if not _pictures(run.workdir):
        missing.append("samples/ holds no picture")
    if not (run.workdir / "checkpoints").is_dir():
        missing.append("checkpoints/ does not exist")
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in missing)}</ul>" if missing else ""


# Parts of HTML


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"<code>{_text(text)}</code>"


def _text(value: str) -> str:
    return escape(str(value), quote=True)


def _words(name: str) -> str:
    return _text(name.replace("_", " "))


def _columns(*parts: str) -> str:
    return f"<div class=columns>{''.join(f'<div>{part}</div>' for part in parts if part)}</div>"


def _table(heads: Sequence[str] | None, rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    # Cells are HTML already. The first `words` columns hold words, the others figures.
    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=figure' if i >= words else ''}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )

    head = f"<tr>{line(heads, 'th')}</tr>" if heads else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<div class=scroll><table>{head}{body}</table></div>"


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>
{body}
</main></body>
</html>
"""

_STYLE = """
:root {
  --page: #f5f6f9; --panel: #ffffff; --text: #1c2330; --muted: #667085; --line: #e3e7ee;
  --accent: #2f6fde; --good: #158a66; --note: #c27803; --problem: #c0322b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1217; --panel: #171b22; --text: #e6e9ef; --muted: #97a1b2; --line: #2a313c;
    --accent: #6ea8ff; --good: #4fd1a5; --note: #e3a53c; --problem: #ff7b72;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 12px; }
h3 { font-size: 1rem; margin: 16px 0 8px; }
h4 { font-size: .9rem; margin: 20px 0 6px; color: var(--muted); font-weight: 600; }
p { margin: 6px 0; }
.muted { color: var(--muted); font-size: .87rem; }
section, .tile {
  background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
}
section { padding: 18px; margin-top: 18px; }
.tiles {
  display: grid; gap: 10px; margin-top: 14px;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
}
.tile { padding: 10px 14px; }
.tile .label { color: var(--muted); font-size: .8rem; }
.tile .value { font-size: 1.5rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.card { border-left: 4px solid var(--accent); padding: 2px 14px; margin: 12px 0; }
.card h3 { margin: 0; }
.card h3::first-letter { text-transform: uppercase; }
.card.good { border-color: var(--good); } .card.good h3 { color: var(--good); }
.card.note { border-color: var(--note); } .card.note h3 { color: var(--note); }
.card.problem { border-color: var(--problem); }
.card.problem h3, p.problem { color: var(--problem); }
.curves {
  display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
}
.columns { display: flex; flex-wrap: wrap; gap: 0 56px; }
.columns > div { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: 4px 12px 4px 0; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; }
.figure { text-align: right; white-space: nowrap; }
code { font: .87em ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
img.wide { width: 100%; display: block; }
img.wide.pixels { max-width: 600px; }
img.sample, .pixels { image-rendering: pixelated; }
figure { margin: 12px 0; }
figcaption { color: var(--muted); font-size: .87rem; }
.confusion { font-size: .82rem; }
.confusion th, .confusion td { border: 1px solid var(--line); padding: 3px 7px; }
.confusion td { text-align: center; min-width: 2.6em; }
.confusion .turn { vertical-align: bottom; text-align: center; }
.confusion .turn span { writing-mode: vertical-rl; transform: rotate(180deg); }
.confusion .hit {
  background: color-mix(in srgb, var(--accent) calc(var(--share) * .7), transparent);
}
.confusion .miss { background: color-mix(in srgb, var(--problem) var(--share), transparent); }
.bar { width: 120px; height: 8px; border-radius: 4px; background: var(--line); }
.bar div { height: 100%; border-radius: 4px; background: var(--accent); }
summary { cursor: pointer; color: var(--accent); }
"""
