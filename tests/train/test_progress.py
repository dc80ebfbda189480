"""What a person sees: a bar on a terminal, lines where there is none."""

import errno
import fcntl
import io
import logging
import os
import re
import struct
import termios

import pytest

from cvjax.train import progress
from cvjax.train.progress import Progress, clock, figures_text, log


@pytest.fixture
def lines():
    """The messages of cvjax's log."""
    handler = logging.Handler()
    found = []
    handler.emit = lambda record: found.append(record.getMessage())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(handler)
    log.setLevel(level)


def terminal(lines: int, columns: int):
    """A pseudo-terminal: (stream to write to, descriptor to read what it shows from)."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    return os.fdopen(theirs, "w"), ours


def all_shown(shown: int) -> str:
    """What came out of a pseudo-terminal whose stream is closed, in as many pieces as it likes."""
    pieces = []
    while True:
        try:
            piece = os.read(shown, 100_000)
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: how Linux says that the other end is closed
                raise
            piece = b""
        if not piece:
            os.close(shown)
            return b"".join(pieces).decode()
        pieces.append(piece)


def test_terminal_gets_a_bar_with_step_loss_accuracy_speed_and_eta(lines):
    stream, shown = terminal(40, 150)
    with stream:
        bar = Progress(200, start=50, stream=stream)
        bar.step(80)
        bar.show(80, {"loss": 0.123456, "accuracy": 0.9876, "images/s": 12345.6})
        bar.close()
    text = all_shown(shown)
    last = text.replace("\n", "\r").strip("\r").split("\r")[-1]
    assert "80/200" in last
    assert "loss 0.1235  accuracy 0.9876  images/s 12,346" in last
    assert re.search(r"\[\d\d:\d\d<[\d:?]+", last)  # gone and to go
    assert lines == []


@pytest.mark.parametrize("size", [(0, 0), (0, 80)])
def test_terminal_without_room_gets_lines(size, lines):
    stream, shown = terminal(*size)
    with stream:
        Progress(200, stream=stream).show(80, {"loss": 1.0})
    os.close(shown)
    assert len(lines) == 1


def test_without_a_terminal_lines_come_in_bearable_numbers_and_the_last_always(lines, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = Progress(1000, stream=io.StringIO(), line_seconds=2.0)
    for step in range(1, 1001):
        now[0] += 0.01
        bar.step(step)
        bar.show(step, {"loss": step})
    shown = [int(re.match(r"step (\d+)/1000  loss", line)[1]) for line in lines]
    assert shown == [1, 201, 401, 601, 801, 1000]
    assert lines[1].endswith("ETA 0:08")  # 799 steps of 10 ms
    assert lines[-1].endswith("ETA 0:00")


def test_eta_of_a_resumed_run_counts_from_where_it_resumed(lines, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = Progress(1000, start=900, stream=io.StringIO())
    now[0] = 10.0
    bar.show(910, {})  # one second a step
    assert lines == ["step 910/1000    ETA 1:30"]


def test_other_processes_show_nothing(lines):
    stream, shown = terminal(40, 150)
    with stream:
        bar = Progress(10, stream=stream, quiet=True)
        bar.step(10)
        bar.show(10, {"loss": 1.0})
        bar.close()
        os.set_blocking(shown, False)
        with pytest.raises(BlockingIOError):
            os.read(shown, 1)
    os.close(shown)
    assert lines == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.5, "1:00"), (3599, "59:59"), (3600, "1:00:00"),
     (90061, "25:01:01")],
)  # fmt: skip
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_figures_are_short():
    figures = {"loss": 0.000123456, "images/s": 1234567, "n": 999.94, "x": float("nan")}
    assert figures_text(figures) == "loss 0.0001235  images/s 1,234,567  n 999.9  x nan"
