"""The policy for examples that cannot be read: an error type that says why, and a log of skips."""

import json
import warnings
from pathlib import Path


class BadExample(ValueError):
    """An example that is no legal image. `reason` says what is wrong, `example` which one it is."""

    def __init__(self, reason: str, example: str = "") -> None:
        super().__init__(reason, example)  # both as args, so that it crosses processes whole
        self.reason = reason
        self.example = example

    def __str__(self) -> str:
        return f"{self.example}: {self.reason}" if self.example else self.reason

    def at(self, example: str) -> "BadExample":
        """The same reason, with the example named."""
        return BadExample(self.reason, example)


class SkipLog:
    """Skipped examples: each is named once in a JSON-lines file, every skip is counted.

    A log file from an earlier part of the run is continued: what it names is not named again. A
    file that cannot be written warns once and never stops the run.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.skips = 0  # how often an example was skipped, repeats counted
        self.reasons: dict[str, str] = {}  # example -> reason, in order of first appearance
        self._path = None if path is None else Path(path)
        self._separator = ""  # what the next line needs before it
        if self._path is not None and self._path.exists():
            content = self._path.read_text(encoding="utf-8", errors="replace")
            if content and not content.endswith("\n"):
                self._separator = "\n"
            for line in content.split("\n"):
                self._remember(line)

    @property
    def examples(self) -> int:
        """How many different examples were skipped."""
        return len(self.reasons)

    def record(self, example: str, reason: str) -> bool:
        """Counts a skip; true when this example was skipped for the first time."""
        self.skips += 1
        if example in self.reasons:
            return False
        self.reasons[example] = reason
        if self._path is not None:
            line = json.dumps({"example": example, "reason": reason})
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{self._separator}{line}\n")
                self._separator = ""
            except OSError as error:
                warnings.warn(f"{self._path}: skips are no longer logged: {error}", stacklevel=2)
                self._path = None
        return True

    def _remember(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self.reasons.setdefault(entry["example"], entry["reason"])
        except (ValueError, KeyError, TypeError):
            pass  # a line cut off when the run was killed: that example is named again
