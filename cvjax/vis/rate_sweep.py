"""The picture of a learning-rate range test: loss over rate, and the rates that were read off."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from cvjax.vis.curves import LIGHT, Theme, save_figure, style_axes

# A loss above this many times the first one is cut off: divergence would flatten all the rest.
_HEADROOM = 1.5


def plot_sweep(
    rates: np.ndarray,
    losses: np.ndarray,
    smoothed: np.ndarray,
    path: str | Path,
    *,
    suggestion: float | None,
    lowest: float | None,
    configured: float,
    theme: Theme = LIGHT,
) -> None:
    """Writes the sweep to `path` as a PNG, whole or not at all.

    `losses[i]` was met at `rates[i]`; `smoothed` is drawn over them. Vertical lines show the
    `suggestion`, the rate of the `lowest` smoothed loss and the `configured` rate.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained", facecolor=theme.background)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    style_axes(axes, "learning-rate range test", theme)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator())
    axes.plot(rates, losses, color=theme.series[0], lw=0.8, alpha=0.35)
    axes.plot(rates, smoothed, color=theme.series[0], lw=1.8, label="loss, smoothed")
    marks = (
        (suggestion, "suggestion", theme.series[2], "-"),
        (lowest, "lowest loss", theme.series[1], "--"),
        (configured, "in the config", theme.muted, ":"),
    )
    for lr, label, color, style in marks:
        if lr is not None:
            axes.axvline(lr, color=color, lw=1.4, ls=style, label=f"{label}: {lr:.3g}")
    finite = losses[np.isfinite(losses)]
    if len(finite):
        top = min(float(finite.max()), _HEADROOM * float(finite[0]))
        axes.set_ylim(min(0.0, float(finite.min())), top * 1.05)
    axes.set_xlabel("learning rate", fontsize=8, color=theme.muted)
    axes.set_ylabel("loss", fontsize=8, color=theme.muted)
    axes.legend(fontsize=8, frameon=False, labelcolor=theme.text, handlelength=1.6)
    save_figure(figure, path, theme=theme)
