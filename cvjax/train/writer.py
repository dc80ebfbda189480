"""What a run writes as it goes: `metrics.jsonl`, TensorBoard events, config and environment.

Only the first process writes. A line of `metrics.jsonl` is on disk before the checkpoint of its
step is, and lines after the restored step are cut off at a restart: none is lost, none doubled.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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

    Every method raises OSError, naming the file, where it can't be written.
    """

    def __init__(
        self, workdir: str | Path, *, keep_until: int | None, tensorboard: bool = True
    ) -> None:
        self._path = Path(workdir) / METRICS
        last_step = -1 if keep_until is None else keep_until
        with _named_in_errors(self._path):
            keep_records(self._path, last_step)
            self._file = self._path.open("a")
            self._events = _Events(Path(workdir) / "events", last_step + 1) if tensorboard else None

    def write(self, step: int, record: Mapping[str, float]) -> None:
        """Appends one line: `step`, then flat names such as `train/loss`."""
        line = {"step": step, **{name: _plain(value) for name, value in record.items()}}
        with _named_in_errors(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            if self._events is not None:
                self._events.scalars(step, record)

    def picture(self, name: str, image: Any, step: int) -> None:
        """Adds a uint8 [H, W, 3] picture to the TensorBoard events."""
        if self._events is not None:
            with _named_in_errors(self._path):
                self._events.picture(name, image, step)

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns."""
        with _named_in_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._events is not None:
                self._events.flush()

    def close(self) -> None:
        """Flushes and closes."""
        try:
            self.sync()
        finally:
            with _named_in_errors(self._path):
                self._file.close()
                if self._events is not None:
                    self._events.close()


class _Events:
    """A TensorBoard event file, written where it is called.

    tensorboardX's SummaryWriter writes in a thread: when that dies of a full disk, the run hangs.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboardX import event_file_writer, summary  # here: importing them takes a while
        from tensorboardX.proto import event_pb2

        folder.mkdir(exist_ok=True)
        self._summary, self._proto = summary, event_pb2
        self._writer = event_file_writer.EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        # TensorBoard hides what a killed run wrote of this step and of later ones.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(first_step, session_log=start)

    def scalars(self, step: int, record: Mapping[str, float]) -> None:
        for name, value in record.items():
            self._write(step, summary=self._summary.scalar(name, value))

    def picture(self, name: str, image: Any, step: int) -> None:
        self._write(step, summary=self._summary.image(name, image, dataformats="HWC"))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, step: int, **what: Any) -> None:
        self._writer.write_event(self._proto.Event(wall_time=time.time(), step=step, **what))


@contextmanager
def _named_in_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path.parent} can't be written to ({error.strerror or error}). Free space or choose "
            "another --workdir, and run the same command again."
        ) from error


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else float(value)


def keep_records(path: Path, last_step: int) -> None:
    """Cuts `metrics.jsonl` after the records of `last_step`, atomically."""
    if not path.exists():
        return
    kept = [record for record in read_records(path) if record["step"] <= last_step]
    write_json_lines(path, kept)


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    _replace(Path(path), json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_json_lines(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, atomically."""
    _replace(Path(path), "".join(json.dumps(record) + "\n" for record in records))


def _replace(path: Path, text: str) -> None:
    # The process's number: an evaluation may write beside a run that goes on.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
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
            # Results are what the code wrote, not the code.
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":!*results/*"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if status else "")
