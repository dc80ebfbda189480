"""Checkpoints that survive: written asynchronously, sealed with checksums, verified before use.

`<directory>/<step>/` is what Orbax wrote. `seal.json` in it is written last: the SHA-256 of every
file, and the small host-side state (best value so far, early stopping, ...). A folder without a
seal, or with a file that differs from it, is no checkpoint; it is set aside under a name that ends
in `.damaged`, never deleted, and the one before it is used.
"""

import copy
import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from cvjax.train.partition import path_string

SEAL = "seal.json"
_STEP = re.compile(r"\d+")
_CHUNK = 2**20
_MAX_DIFFERENCES = 20


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message says which, why and what is intact."""


@dataclass(frozen=True)
class Restored:
    """A state and the host-side record that was sealed with it."""

    state: Any
    host: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
        directory: created when the first checkpoint is written.
        keep: how many of the newest to keep; the best one is kept besides.
        warn: called with a line of text for whatever a person should know.
    """

    def __init__(
        self, directory: str | Path, *, keep: int = 2, warn: Callable[[str], None] = print
    ) -> None:
        if keep < 1:
            raise ValueError(f"train.keep is {keep}; at least 1 checkpoint has to be kept.")
        self.directory = Path(directory).absolute()
        self._keep = keep
        self._warn = warn
        self._checkpointer = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        self._sealer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._saving: int | None = None

    def steps(self) -> list[int]:
        """Steps that have a sealed checkpoint, ascending. Cheap: contents are not verified."""
        if not self.directory.is_dir():
            return []
        found = [p for p in self.directory.iterdir() if _STEP.fullmatch(p.name)]
        return sorted(int(p.name) for p in found if (p / SEAL).is_file())

    def find(self, which: str) -> int:
        """The step that "best", "latest" or a number means; "best" falls back on the latest.

        Raises:
            CheckpointError: if there is none, or it is damaged.
        """
        while True:
            steps = self.steps()
            if not steps:
                raise CheckpointError(
                    f"{self.directory} holds no checkpoint. Train first, or check --workdir."
                )
            step = self._meant(which, steps)
            problems = problems_of(self.directory / str(step))
            if not problems:
                return step
            if step in self.steps():
                others = [s for s in steps if s != step]
                raise CheckpointError(
                    f"the checkpoint of step {step} in {self.directory} is damaged: "
                    f"{'; '.join(problems[:5])}. Others: {others or 'none'}."
                )
            # Else the run that goes on meanwhile deleted it, for a newer or better one.

    def _meant(self, which: str, steps: list[int]) -> int:
        if which == "latest":
            return steps[-1]
        if which == "best":
            for step in reversed(steps):  # a damaged newest may not know
                try:
                    best = read_seal(self.directory / str(step))["host"].get("best_step")
                except CheckpointError:
                    continue
                return best if best in steps else step
            return steps[-1]
        step = int(which) if which.isdigit() else -1
        if step not in steps:
            raise CheckpointError(
                f"there is no checkpoint {which!r} in {self.directory}. Use 'best', 'latest' "
                f"or one of {steps}."
            )
        return step

    def save(self, state: Any, step: int, host: Mapping[str, Any]) -> None:
        """Starts writing `state`; returns as soon as it and `host` were copied.

        `host` is JSON-able; `host["best_step"]` names the checkpoint to keep besides the newest.

        Raises:
            CheckpointError: if this save can't start, or the one before it failed.
        """
        self.wait()
        self._saving = step
        target = self.directory / str(step)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if jax.process_index() == 0:
                _require_room(self.directory, state)
                if target.exists():
                    self._set_aside(target, "is being written again")
            self._checkpointer.save(target, args=ocp.args.PyTreeSave(_own_buffers(state)))
        except Exception as error:
            raise self._save_error(error) from error
        self._sealer = threading.Thread(
            target=self._finish,
            args=(target, step, copy.deepcopy(dict(host))),  # the caller's goes on changing
            name="checkpoint-seal",
            daemon=True,  # a second Ctrl-C need not wait for a disk that hangs
        )
        self._sealer.start()

    def wait(self) -> None:
        """Blocks until the save under way is sealed.

        Raises:
            CheckpointError: if it failed.
        """
        if self._sealer is not None:
            self._sealer.join()
            self._sealer = None
        if self._error is not None:
            error, self._error = self._error, None
            raise self._save_error(error) from error

    def close(self) -> None:
        """Waits and frees the writer's threads."""
        try:
            self.wait()
        finally:
            self._checkpointer.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()  # else someone wants to be out of here at once

    def newest_sound(self) -> int | None:
        """The newest step whose files all match their seal; unsound ones are set aside, by name.

        On several processes every process must call it; the first one decides for all.
        """
        step = -1
        if jax.process_index() == 0:
            self._clear_leftovers()
            for candidate in sorted(self._step_folders(), reverse=True):
                problems = problems_of(self.directory / str(candidate))
                if not problems:
                    step = candidate
                    break
                self._set_aside(
                    self.directory / str(candidate), "is damaged: " + "; ".join(problems[:5])
                )
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            step = int(multihost_utils.broadcast_one_to_all(jnp.asarray(step)))
        return None if step < 0 else step

    def restore(self, step: int, like: Any) -> Restored:
        """The state at `step`, laid out as `like` (ShapeDtypeStructs with shardings).

        Raises:
            CheckpointError: if it can't be read, or its tree differs from `like`.
        """
        folder = self.directory / str(step)
        host = read_seal(folder)["host"]
        differences = _differences(folder, like)
        if differences:
            shown = "".join(f"\n  {line}" for line in differences[:_MAX_DIFFERENCES])
            more = len(differences) - _MAX_DIFFERENCES
            raise CheckpointError(
                f"{folder} holds another state than this config's:{shown}"
                + (f"\n  ... and {more} more" if more > 0 else "")
            )
        try:
            state = self._checkpointer.restore(
                folder,
                args=ocp.args.PyTreeRestore(
                    item=like, restore_args=ocp.checkpoint_utils.construct_restore_args(like)
                ),
            )
        except Exception as error:
            raise CheckpointError(f"{folder} can't be restored: {_root_cause(error)}") from error
        return Restored(state, host, step)

    def _finish(self, folder: Path, step: int, host: dict[str, Any]) -> None:
        try:
            self._checkpointer.wait_until_finished()
            if jax.process_index() == 0:
                write_seal(folder, host)
                self._delete_old(step, host.get("best_step"))
        except BaseException as error:
            self._error = error

    def _delete_old(self, newest: int, best: int | None) -> None:
        steps = [step for step in self.steps() if step <= newest]
        for step in steps[: -self._keep]:
            if step != best:
                # Renamed first: a kill in between must not leave half a checkpoint.
                doomed = self.directory / f"{step}.deleting"
                (self.directory / str(step)).rename(doomed)
                shutil.rmtree(doomed)

    def _step_folders(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return [int(p.name) for p in self.directory.iterdir() if _STEP.fullmatch(p.name)]

    def _clear_leftovers(self) -> None:
        """What a killed run left half-written or half-deleted; none of it was ever a checkpoint."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if path.name.endswith(".deleting") or ".orbax-checkpoint-tmp" in path.name:
                    shutil.rmtree(path)

    def _set_aside(self, folder: Path, why: str) -> None:
        aside = folder.with_name(folder.name + ".damaged")
        count = 1
        while aside.exists():
            count += 1
            aside = folder.with_name(f"{folder.name}.damaged-{count}")
        folder.rename(aside)
        self._warn(f"Checkpoint {folder} {why}. It was renamed to {aside.name}.")

    def _save_error(self, error: BaseException) -> CheckpointError:
        intact = [step for step in self.steps() if step != self._saving]
        kept = ", ".join(map(str, intact)) or "none"
        return CheckpointError(
            f"could not save the checkpoint of step {self._saving} in {self.directory}: "
            f"{_root_cause(error)}. Free space or choose a writable --workdir and run the same "
            f"command again. Checkpoints that are intact: {kept}."
        )


def write_seal(folder: Path, host: Mapping[str, Any]) -> None:
    """Writes `seal.json` last and atomically."""
    files = _digests(folder)
    body = {"files": files, "host": dict(host)}
    seal = {**body, "seal": _digest_of(body)}
    temporary = folder / (SEAL + ".tmp")
    with temporary.open("w") as file:
        json.dump(seal, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / SEAL)


def read_seal(folder: Path) -> dict[str, Any]:
    """The seal of a checkpoint folder.

    Raises:
        CheckpointError: if it is missing or was changed.
    """
    path = Path(folder) / SEAL
    try:
        seal = json.loads(path.read_text())
        claimed = seal.pop("seal")
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: the checkpoint was not completed") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise CheckpointError(f"{path} can't be read") from None
    if claimed != _digest_of(seal):
        raise CheckpointError(f"{path} does not match its own checksum")
    return seal


def problems_of(folder: Path) -> list[str]:
    """What is wrong with a checkpoint folder, by file; empty when every byte is as sealed."""
    try:
        sealed = read_seal(folder)["files"]
    except CheckpointError as error:
        return [str(error)]
    problems = []
    present = {name for name in sealed if (folder / name).is_file()}
    problems += [f"{name} is missing" for name in sorted(set(sealed) - present)]
    try:
        digests = _digests(folder, sorted(present))
    except FileNotFoundError as error:
        return [f"{error.filename} is missing"]  # deleted while we looked
    for name, (size, digest) in digests.items():
        if size != sealed[name][0]:
            problems.append(f"{name} has {size} bytes instead of {sealed[name][0]}")
        elif digest != sealed[name][1]:
            problems.append(f"{name} has changed content")
    return problems


def _differences(folder: Path, like: Any) -> list[str]:
    """Where the tree that lies in `folder` is not that of `like`, a line each."""
    reader = ocp.PyTreeCheckpointer()
    try:
        found = reader.metadata(folder).item_metadata
    except OSError as error:
        raise CheckpointError(f"{folder} can't be read: {_root_cause(error)}") from error
    finally:
        reader.close()
    if found is None:  # a run that goes on has just replaced it
        raise CheckpointError(f"{folder} is gone or holds no state.")
    tree = found.tree
    there, here = (
        {
            path_string(path): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        }
        for tree in (tree, like)
    )
    return [
        f"{path}: {there.get(path, 'nothing')} there, {here.get(path, 'nothing')} here"
        for path in sorted({*there, *here})
        if there.get(path) != here.get(path)
    ]


def _digests(folder: Path, names: list[str] | None = None) -> dict[str, list[Any]]:
    if names is None:
        files = (p for p in folder.rglob("*") if p.is_file())
        names = sorted(str(p.relative_to(folder)) for p in files)
        # TensorStore's lock files come and go; a seal that names one tells of damage later.
        names = [n for n in names if n not in (SEAL, SEAL + ".tmp") and not n.endswith(".__lock")]
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter
        return dict(zip(names, pool.map(lambda name: _file_digest(folder / name), names)))


def _file_digest(path: Path) -> list[Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return [size, digest.hexdigest()]


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _own_buffers(state: Any) -> Any:
    """Copies where the host would otherwise read the very buffers that the next step overwrites.

    On CPU a NumPy view of a JAX array shares its memory, and the training step donates the state.
    """
    leaves = jax.tree.leaves(state)
    on_cpu = any(d.platform == "cpu" for leaf in leaves[:1] for d in leaf.devices())
    return jax.tree.map(jnp.copy, state) if on_cpu else state


def _require_room(directory: Path, state: Any) -> None:
    """Raises OSError if nothing can be made in `directory`, or the disk has no room for `state`.

    Orbax's threads would wait for each other for minutes, or print a screen of errors each.
    """
    probe = directory / f"probe-{os.getpid()}.deleting"
    probe.mkdir()
    probe.rmdir()
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"No space left on device: {free / 1e6:.3g} MB free of {needed / 1e6:.3g} MB needed",
        )


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    # TensorStore tells its whole call; what the system answered is at the end.
    found = re.search(r"os_error_code='(\d+)'", text)
    return os.strerror(int(found[1])) if found else text.splitlines()[0][:300]
