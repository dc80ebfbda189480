"""Ctrl-C and SIGTERM end a run after the step under way; a second signal ends it at once."""

import signal
import threading
from types import FrameType

import jax


class Interruption:
    """Context manager that notes the first SIGINT or SIGTERM instead of raising.

    Outside the main thread, where Python takes no signals, it notes nothing.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def requested(self, step: int) -> bool:
        """Whether to stop after `step`; on several processes all answer alike."""
        if jax.process_count() > 1:
            # A process may be told some steps before another: they agree on one step to stop at.
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
