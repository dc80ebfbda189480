"""Ctrl-C and SIGTERM end a run after the step under way; a second signal ends it at once."""

import os
import signal
import threading
from types import FrameType

import jax

STOPPING = b"\nstopping after this step, then saving; once more ends at once\n"


class Interruption:
    """Context manager that notes the first SIGINT or SIGTERM instead of raising.

    Outside the main thread, where Python takes no signals, it notes nothing. On several processes
    JAX's own watch for SIGTERM (preemption) lets all of them agree on one step to stop after, so
    SIGTERM is left to it and SIGINT is handed on as one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._several = jax.process_count() > 1
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            signals = [signal.SIGINT] if self._several else [signal.SIGINT, signal.SIGTERM]
            for number in signals:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell sets for a job in &
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def requested(self, step: int) -> bool:
        """Whether to stop after `step`; on several processes all answer alike."""
        if self._several:
            from jax.experimental import multihost_utils

            if not multihost_utils.reached_preemption_sync_point(step):
                return False
            self.signal = self.signal or signal.SIGTERM
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        os.write(2, STOPPING)  # a handler must not go through buffers or locks
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
