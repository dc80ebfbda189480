"""Rows that a file of results holds already, to which a benchmark adds."""

import json
from pathlib import Path
from typing import Any

from experiments.machine import machine_kind


def known_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in `path`, each with the "machine" that it is of; [] where there is no such file."""
    if not path.exists():
        return []
    result = json.loads(path.read_text())
    kind = machine_kind(result["environment"])  # of rows from before they said so
    return [{"machine": kind, **row} for row in result["rows"]]
