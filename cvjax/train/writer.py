"""What a run writes as it goes: `metrics.jsonl`, TensorBoard events, config and environment.

Only the first process writes. A line of `metrics.jsonl` is on disk before the checkpoint of its
step is, and lines after the restored step are cut off at a restart: none is lost, none doubled.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from cvjax.vis.records import read_records

METRICS = "metrics.jsonl"
_PACKAGES = ("cvjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")
_REPOSITORY = Path(__file__).resolve().parents[2]


class MetricWriter:
    """Appends records to `metrics.jsonl` and to TensorBoard.

    Args:
        keep_until: records of later steps, left by a killed run, are cut off; None keeps nothing.
    """

    def __init__(
        self, workdir: str | Path, *, keep_until: int | None, tensorboard: bool = True
    ) -> None:
        self._path = Path(workdir) / METRICS
        keep_records(self._path, -1 if keep_until is None else keep_until)
        self._file = self._path.open("a")
        self._events = None
        if tensorboard:
            from tensorboardX import SummaryWriter  # here: importing it takes a while

            purge = {} if keep_until is None else {"purge_step": keep_until + 1}
            self._events = SummaryWriter(str(Path(workdir) / "events"), **purge)

    def write(self, step: int, record: Mapping[str, float]) -> None:
        """Appends one line: `step`, then flat names such as `train/loss`."""
        line = {"step": step, **{name: _plain(value) for name, value in record.items()}}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in record.items():
                self._events.add_scalar(name, value, step)

    def picture(self, name: str, image: Any, step: int) -> None:
        """Adds a uint8 [H, W, 3] picture to the TensorBoard events."""
        if self._events is not None:
            self._events.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self.sync()
        self._file.close()
        if self._events is not None:
            self._events.close()


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else float(value)


def keep_records(path: Path, last_step: int) -> None:
    """Cuts `metrics.jsonl` after the records of `last_step`, atomically."""
    if not path.exists():
        return
    kept = [record for record in read_records(path) if record["step"] <= last_step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
    temporary.rename(path)


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    temporary.rename(path)


def environment() -> dict[str, Any]:
    """Versions, devices and the git commit: what a figure depends on besides the config."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpu_cores": os.cpu_count(),
        "versions": versions,
        "backend": jax.default_backend(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in devices[:64]],
        "num_devices": len(devices),
        "num_processes": jax.process_count(),
        "git": git_commit(),
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of the source tree, with `-dirty` where files differ; None outside git."""
    git = ["git", "-C", str(_REPOSITORY)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if status else "")
