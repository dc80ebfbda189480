"""The files of a workdir besides metrics and checkpoints, and who may use it."""

import errno
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvjax.data.source import Source
from cvjax.evaluators.batches import Results
from cvjax.train.writer import environment, write_json
from cvjax.vis.boxes import draw_batch
from cvjax.vis.grids import save_grid
from cvjax.vis.points import points_picture

CONFIG = "config.json"
LOCK = "lock"
_MAX_DIFFERENCES = 20
_MAGNIFIED = 256  # pixels: pictures with boxes are drawn twice as large up to this width


def claim_workdir(workdir: Path, config: Mapping[str, Any]) -> None:
    """Makes the workdir and writes `config.json`, or checks that it is this config's workdir.

    Raises:
        ValueError: if the workdir holds a run of another config; the message shows the difference.
        OSError: if it can't be written to; the message says so.
    """
    path = workdir / CONFIG
    config = json.loads(json.dumps(config))
    if path.exists():
        differences = _differences(json.loads(path.read_text()), config)
        if differences:
            shown = "\n".join(f"  {line}" for line in differences[:_MAX_DIFFERENCES])
            more = len(differences) - _MAX_DIFFERENCES
            raise ValueError(
                f"{workdir} holds a run of another config:\n{shown}\n"
                + (f"  ... and {more} more\n" if more > 0 else "")
                + "Give another --workdir. To go on from that run's checkpoint with this config, "
                f"set train.resume={str(workdir)!r} besides."
            )
        return
    if jax.process_index() == 0:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, config)
        except OSError as error:
            raise OSError(
                f"the workdir {workdir} can't be written to ({error.strerror}). "
                "Choose another --workdir or free space."
            ) from error


@contextmanager
def only_process_in(workdir: Path) -> Iterator[None]:
    """Holds the workdir, so that the same command started twice does not write over itself.

    The system lets go of it however the process ends. File systems without locks go unguarded.

    Raises:
        RuntimeError: if another run holds it.
    """
    if jax.process_index():
        yield
        return
    with (workdir / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise RuntimeError(
                    f"another process is training in {workdir}. Wait for it, stop it, or give "
                    "another --workdir."
                ) from None
        yield


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for name in sorted({*old, *new}):
            here = f"{path}.{name}" if path else name
            if name not in old:
                lines.append(f"{here}: not set there, {new[name]!r} now")
            elif name not in new:
                lines.append(f"{here}: {old[name]!r} there, not set now")
            else:
                lines += _differences(old[name], new[name], here)
        return lines
    return [] if old == new else [f"{path}: {old!r} there, {new!r} now"]


def write_environment(workdir: Path) -> None:
    """Writes `environment.json`; a resumed run adds its own to `environments_before`."""
    path = workdir / "environment.json"
    now = environment()
    before = []
    if path.exists():
        old = json.loads(path.read_text())
        before = old.pop("environments_before", [])
        if old != now:
            before.append(old)
    write_json(path, {**now, "environments_before": before} if before else now)


def write_results(
    workdir: Path, name: str, source: Source, results: Results, step: int
) -> np.ndarray | None:
    """Writes what an evaluation found, in the first process only.

    Figures go to `evals/<name>.json`, pictures to `samples/<name>_step_<step>.png`; returns the
    grid of the pictures [H, W, 3], None where there are none.
    """
    if jax.process_index():
        return None
    if results.scalars or results.arrays:
        _write_evaluation(workdir, name, source, results, step)
    if not results.pictures:
        return None
    file = f"{name}_step_{step}"
    return write_pictures(workdir, file, results.pictures, source.info.class_names)


def _write_evaluation(
    workdir: Path, name: str, source: Source, results: Results, step: int
) -> None:
    """The last evaluation in full."""
    folder = workdir / "evals"
    folder.mkdir(exist_ok=True)
    # A class without examples has no accuracy: null, because JSON knows no NaN.
    arrays = {
        key: np.where(np.isfinite(value), np.asarray(value, object), None).tolist()
        for key, value in results.arrays.items()
    }
    write_json(
        folder / f"{name}.json",
        {
            "name": name,
            "source": source.info.name,
            "step": step,
            "num_examples": results.num_examples,
            "class_names": list(source.info.class_names),
            **results.scalars,
            **arrays,
        },
    )


def write_pictures(
    workdir: Path, name: str, batch: Mapping[str, Any], class_names: tuple[str, ...]
) -> np.ndarray:
    """Writes `samples/<name>.png`, a grid with labels or boxes; returns the picture [H, W, 3].

    `batch["image"]` is [N, H, W, C], or [R, K, H, W, C] for R rows. [N, 1, 1, 2] are points, and
    become one picture of them all.
    """
    from PIL import Image

    images = np.asarray(batch["image"])
    folder = workdir / "samples"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.png"
    if images.shape[1:] == (1, 1, 2):
        picture = points_picture(images.reshape(-1, 2), batch.get("label"))
        Image.fromarray(picture).save(path, format="PNG")
        return picture
    if "boxes" in batch:
        scale = 2 if images.shape[2] <= _MAGNIFIED else 1
        picture = draw_batch({**batch, "image": images}, class_names, scale=scale)
        Image.fromarray(picture).save(path, format="PNG")
        return picture
    columns = images.shape[1] if images.ndim == 5 else None
    images = images.reshape(-1, *images.shape[-3:])
    labels = np.asarray(batch["label"]) if "label" in batch else None
    captions = None
    if labels is not None:
        captions = [class_names[i] if i < len(class_names) else str(i) for i in labels]
    save_grid(path, images, captions=captions, columns=columns)
    return np.asarray(Image.open(path).convert("RGB"))
