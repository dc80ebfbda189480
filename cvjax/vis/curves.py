"""Learning curves of a run as one picture: a panel a metric, every split in it.

Drawn on matplotlib's Agg canvas without pyplot, so nothing global is touched and several threads
or a notebook next door are not disturbed.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from cvjax.vis import records as rec

MAX_PANELS = 24  # beyond this a page is no longer read; what is left out is named under it
COLUMNS = 2
PANEL_INCHES = (5.2, 3.0)

# A raw curve is drawn over by its moving average from this many points on; below, the eye does it.
SMOOTH_FROM = 12
# The moving average spans a 20th of the curve: short against the run, long against its noise.
SMOOTH_FRACTION = 1 / 20
# A loss that spans more than two decades, or a learning rate more than 1.5, is drawn on a log axis.
LOG_DECADES = {"loss": 2.0, "lr": 1.5}


class Theme(NamedTuple):
    """Colours of a figure; `series` is used in turn, the training split takes the first."""

    background: str
    panel: str
    text: str
    muted: str
    grid: str
    warning: str
    series: tuple[str, ...]


# Hues that stay apart for colour-blind readers (after Okabe and Ito), tuned to each background.
LIGHT = Theme(
    background="#ffffff",
    panel="#ffffff",
    text="#1c2330",
    muted="#667085",
    grid="#e6e9ef",
    warning="#c0322b",
    series=("#2f6fde", "#d9730d", "#158a66", "#a23fa0", "#8a6d00", "#0e8aa8"),
)
DARK = Theme(
    background="#171b22",
    panel="#171b22",
    text="#e6e9ef",
    muted="#97a1b2",
    grid="#2a313c",
    warning="#ff7b72",
    series=("#6ea8ff", "#ffa657", "#4fd1a5", "#e08be0", "#e3c341", "#56cbe6"),
)


class Panel(NamedTuple):
    """One pair of axes: a title and the flat names that are drawn in it."""

    title: str
    kind: str  # "metric", "lr" or "rate"
    names: tuple[str, ...]


def plot_curves(
    records: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    guessing: Mapping[str, float] = MappingProxyType({}),
    theme: Theme = LIGHT,
) -> None:
    """Writes the curves of `records` to `path` as a PNG, whole or not at all.

    Training curves are drawn raw and smoothed; evaluation points are marked and the best one of
    each split is named. No record, or one, gives a picture that says so. `guessing` maps metrics to
    the figure that guessing would reach (`diagnosis.guessing_figures`), drawn as dotted lines.
    """
    save_figure(curves_figure(records, guessing=guessing, theme=theme), path, theme=theme)


def save_figure(figure: Figure, path: str | Path, *, theme: Theme = LIGHT) -> None:
    """Writes `figure` to `path` as a PNG, whole or not at all."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", dpi=110, facecolor=theme.background)
    os.replace(partial, path)


def curves_figure(
    records: Sequence[Mapping[str, Any]],
    *,
    panels: Sequence[Panel] | None = None,
    guessing: Mapping[str, float] = MappingProxyType({}),
    theme: Theme = LIGHT,
) -> Figure:
    """The figure that `plot_curves` writes, or one of only some of its `panels`."""
    all_panels = curve_panels(records)
    shown = list(all_panels if panels is None else panels)
    panels, left_out = shown[:MAX_PANELS], shown[MAX_PANELS:]
    rows = max(1, math.ceil(len(panels) / COLUMNS))
    columns = min(COLUMNS, max(1, len(panels)))
    figure = Figure(
        figsize=(columns * PANEL_INCHES[0], rows * PANEL_INCHES[1]),
        layout="constrained",
        facecolor=theme.background,
    )
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    FigureCanvasAgg(figure)
    if not panels:
        axes = figure.add_subplot()
        style_axes(axes, "no metrics yet", theme)
        axes.set_xticks([])
        axes.set_yticks([])
        return figure

    splits = list(dict.fromkeys(_line_of(name) for panel in all_panels for name in panel.names))
    splits.sort(key=lambda split: split != rec.TRAIN_SPLIT)  # stable: training first
    colors = {split: theme.series[i % len(theme.series)] for i, split in enumerate(splits)}
    limits = _step_limits(records)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        style_axes(axes, panel.title, theme)
        _draw_panel(axes, panel, records, colors, guessing, theme)
        axes.set_xlim(*limits)
        if index >= len(panels) - COLUMNS:
            axes.set_xlabel("step", fontsize=8, color=theme.muted)
    if left_out:
        names = ", ".join(panel.title for panel in left_out)
        figure.supxlabel(f"not drawn: {names}", fontsize=8, color=theme.muted)
    return figure


def curve_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The panels to draw: loss, accuracy, what else is evaluated, training only, rates."""
    records = [record for record in records if "step" in record]
    by_metric: dict[str, list[str]] = {}
    for name in rec.result_names(records):
        if rec.is_measured(records, name):
            by_metric.setdefault(rec.metric_of(name), []).append(name)

    def rank(metric: str) -> int:
        evaluated = any(_line_of(name) != rec.TRAIN_SPLIT for name in by_metric[metric])
        return {"loss": 0, "accuracy": 1}.get(metric, 2 if evaluated else 3)

    order = sorted(by_metric, key=rank)  # stable
    panels = [
        Panel(metric.replace("_", " "), "metric", tuple(by_metric[metric])) for metric in order
    ]
    names = rec.field_names(records)
    rates = [name for name in names if rec.is_learning_rate(name)]
    if rates:
        panels.append(Panel("learning rate", "lr", tuple(rates)))
    throughput: dict[str, list[str]] = {}
    for name in names:
        if rec.is_rate(name):
            throughput.setdefault(rec.metric_of(name), []).append(name)
    for metric, group in throughput.items():
        title = metric.removesuffix("_per_second").replace("_", " ") + " per second"
        panels.append(Panel(title, "rate", tuple(group)))
    return panels


def smoothing_window(count: int) -> float:
    """How many points the moving average spans over a curve of `count` points; 1 = not smoothed."""
    return max(2.0, count * SMOOTH_FRACTION) if count >= SMOOTH_FROM else 1.0


def _draw_panel(
    axes: Axes,
    panel: Panel,
    records: Sequence[Mapping[str, Any]],
    colors: Mapping[str, str],
    guessing: Mapping[str, float],
    theme: Theme,
) -> None:
    drawn: list[np.ndarray] = []
    for name in panel.names:
        points = rec.series(records, name)
        label = _line_of(name) or rec.metric_of(name)
        color = colors[_line_of(name)]
        finite = points.finite()
        drawn.append(finite.values)
        if panel.kind == "lr" or (panel.kind == "rate" and len(finite.values) < SMOOTH_FROM):
            marker = "o" if len(finite.values) == 1 else None
            axes.plot(finite.steps, finite.values, color=color, lw=1.6, marker=marker, label=label)
        elif panel.kind == "rate" or _line_of(name) == rec.TRAIN_SPLIT:
            _draw_smoothed(axes, points, label=label, color=color)
        else:
            _draw_evaluations(axes, points, rec.metric_of(name), label=label, color=color)
        _mark_not_finite(axes, points, theme)
    metric = rec.metric_of(panel.names[0])
    if panel.kind == "metric" and metric in guessing:
        axes.axhline(guessing[metric], color=theme.muted, lw=1, ls=":", label="guessing", zorder=1)
    _scale(axes, "lr" if panel.kind == "lr" else metric, drawn)
    if panel.kind == "rate":
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0] and (panel.kind == "metric" or len(panel.names) > 1):
        legend = axes.legend(fontsize=8, frameon=False, labelcolor=theme.text, handlelength=1.4)
        legend.set_zorder(5)


def _draw_smoothed(axes: Axes, points: rec.Series, *, label: str, color: str) -> None:
    window = smoothing_window(len(points.values))
    if window == 1.0:
        axes.plot(points.steps, points.values, color=color, lw=1.6, marker=".", label=label)
        return
    axes.plot(points.steps, points.values, color=color, lw=0.8, alpha=0.3)
    smoothed = rec.smooth(points.values, window=window)
    axes.plot(points.steps, smoothed, color=color, lw=1.8, label=label)


def _draw_evaluations(
    axes: Axes, points: rec.Series, metric: str, *, label: str, color: str
) -> None:
    best = None
    if rec.has_best(metric):
        best = rec.best_point(points, higher_is_better=rec.is_higher_better(metric))
    if best is not None:
        label = f"{label}, best {best[1]:.4g}"
    size = 4.5 if len(points.values) <= 60 else 2.5
    axes.plot(
        points.steps, points.values, color=color, lw=1.4, marker="o", ms=size, label=label, zorder=3
    )
    if best is not None:
        axes.plot(
            *[[part] for part in best], ls="", marker="o", ms=10, mfc="none", mec=color, zorder=4
        )


def _mark_not_finite(axes: Axes, points: rec.Series, theme: Theme) -> None:
    bad = points.steps[~np.isfinite(points.values)]
    if len(bad):
        label = f"not finite from step {bad[0]:.0f}"
        known = axes.get_legend_handles_labels()[1]
        axes.axvline(
            bad[0], color=theme.warning, lw=1, ls="--", label=None if label in known else label
        )


def _scale(axes: Axes, metric: str, drawn: Sequence[np.ndarray]) -> None:
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    decades = next((LOG_DECADES[key] for key in LOG_DECADES if key in metric), None)
    if decades is None or not len(values) or values.min() <= 0:
        return
    if math.log10(values.max() / values.min()) > decades:
        axes.set_yscale("log")


def _step_limits(records: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    # One range for every panel, so that a glance down the page compares like with like.
    steps = rec.series(records, "step").steps
    low, high = float(steps.min()), float(steps.max())
    margin = max(0.02 * (high - low), 0.5)
    return low - margin, high + margin


def style_axes(axes: Axes, title: str, theme: Theme) -> None:
    """The look of every plot: title on the left, a light grid, no frame."""
    axes.set_facecolor(theme.panel)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=theme.text)
    axes.grid(True, color=theme.grid, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.muted, labelsize=8, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.grid)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _line_of(name: str) -> str:
    # `lr/backbone` is the learning rate of a group: the group takes the split's place.
    if rec.is_learning_rate(name):
        return rec.metric_of(name) if rec.split_of(name) == "lr" else ""
    return rec.split_of(name)
