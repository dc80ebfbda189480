"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

log = logging.getLogger("cvjax")


def setup_logging() -> None:
    """Sends the messages of cvjax to stderr, below a progress bar where there is one."""
    if log.handlers:
        return
    handler = _TqdmHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    # Orbax's threads log every error that they also raise, with its whole traceback, and what was
    # still being written then finds their event loop closed. The error itself reaches the user.
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(lambda r: "never retrieved" not in r.getMessage())
    sys.unraisablehook = _report_unless_loop_closed


def _report_unless_loop_closed(unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class _TqdmHandler(logging.Handler):
    """Writes above a running bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class Progress:
    """Progress of steps `start` to `total`.

    Without a terminal it writes a line at most every `line_seconds`, so that the log of a long run
    stays readable.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        stream: TextIO | None = None,
        line_seconds: float = 2.0,
        quiet: bool = False,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._total = total
        self._quiet = quiet
        self._line_seconds = line_seconds
        self._last_line = float("-inf")
        self._bar = None
        if not quiet and _is_screen(stream):
            self._bar = tqdm(
                total=total,
                initial=start,
                file=stream,
                unit="step",
                dynamic_ncols=True,
                mininterval=0.2,
            )
        self._start = start
        self._start_time = time.monotonic()

    def step(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def show(self, step: int, figures: Mapping[str, Any]) -> None:
        """Shows metrics of the last steps."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(figures_text(figures))
            return
        now = time.monotonic()
        if now - self._last_line < self._line_seconds and step < self._total:
            return
        self._last_line = now
        eta = clock(self._seconds_left(step, now))
        log.info("step %d/%d  %s  ETA %s", step, self._total, figures_text(figures), eta)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _seconds_left(self, step: int, now: float) -> float:
        done = max(step - self._start, 1)
        return (now - self._start_time) / done * (self._total - step)


def clock(seconds: float) -> str:
    """12:34 or 1:23:45."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def figures_text(figures: Mapping[str, Any]) -> str:
    """ "loss 0.1234  images/s 5,678"."""
    return "  ".join(f"{name} {_figure(float(value))}" for name, value in figures.items())


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _is_screen(stream: TextIO) -> bool:
    """Whether a bar has room: pseudo-terminals of CI and containers may have no lines at all."""
    try:
        return stream.isatty() and os.get_terminal_size(stream.fileno()).lines > 1
    except (OSError, ValueError):
        return False
