"""What a trained model says about pictures of one's own.

    python -m cvjax.predict --workdir runs/retinanet_scenes photo.jpg --out found.png
    python -m cvjax.predict --workdir runs/retinanet_scenes folder/ --out found/ --json found.json
    python -m cvjax.predict --workdir runs/lenet_digits four.png

A detector's boxes are printed, drawn (`--out`: a file for one picture, else a folder) and written
in COCO's results format (`--json`): a list of {"image_id", "category_id", "bbox": [x, y, width,
height], "score"}, with "file_name" and "category" besides. Ids of pictures are those that their
names are, if all are numbers, else 1, 2, ... in the order of the names; categories count from 0, as
labels do. A classifier's five most probable classes are printed, and written by `--json`.

Pictures are brought to the model's size as evaluation does; boxes are in the pixels of the
pictures as they are. Exit status: 0 done, 1 some picture could not be read, 2 nothing was done.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.process_memory import keep_step_memory, start_with_huge_pages

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
_SHOWN_CLASSES = 5
_SMALLEST_DRAWING = 384  # pixels: smaller pictures are magnified


@dataclass(frozen=True)
class Predictor:
    """A workdir's model, ready to look at pictures.

    Attributes:
        class_names: of the labels; their numbers where the data names none.
        predict: uint8 [B, S, S, C] -> the task's outputs as NumPy arrays.
        view: an encoded file or uint8 [H, W, C] -> uint8 [S, S, C].
    """

    class_names: tuple[str, ...]
    channels: int
    predict: Any
    view: Any


def load(workdir: str | Path, *, checkpoint: str = "best") -> Predictor:
    """The model of a finished or running workdir; of one with stages, the last stage's.

    Raises:
        ValueError: if the folder holds no run, or its task is neither detection nor classification.
        FileNotFoundError: if the run's data, which names the classes, is missing.
        CheckpointError: if there is no such checkpoint or it is damaged.
    """
    import jax
    from ml_collections import ConfigDict

    from cvjax import build
    from cvjax.data.views import make_view
    from cvjax.ops.compiling import compiler_options
    from cvjax.train.restore import saved_variables

    folder = _run_folder(Path(workdir))
    experiment = build.experiment(ConfigDict(json.loads((folder / "config.json").read_text())))
    info = experiment.train_source.info
    _, variables = saved_variables(folder, checkpoint)

    @partial(jax.jit, compiler_options=compiler_options())
    def predict(variables: Any, image: Any) -> Any:
        return experiment.task.predict(variables, experiment.eval_transform({"image": image}))

    shape = info.image_shape
    channels = shape[2] if shape else experiment.config["data"]["channels"] or 3
    view = experiment.eval_view
    if view is None:
        if shape is None or shape[0] != shape[1]:
            raise ValueError(f"{folder}: the run has no one square size that pictures could take.")
        view = make_view("resize", shape[0], channels)
    names = info.class_names or tuple(map(str, range(info.num_classes or 0)))
    return Predictor(names, channels, lambda image: jax.device_get(predict(variables, image)), view)


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """The files among `paths` and those in its folders, by `EXTENSIONS`, sorted by name.

    Raises:
        ValueError: naming every path that does not exist or holds no picture.
    """
    found, problems = [], []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in EXTENSIONS)
            if not inside:
                problems.append(f"{path}: the folder holds no {', '.join(EXTENSIONS)}.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            problems.append(f"{path}: there is no such file or folder.")
    if problems:
        raise ValueError("\n".join(problems))
    return found


def batches(
    predictor: Predictor, files: Sequence[Path], size: int
) -> Iterator[tuple[list[tuple[Path, np.ndarray]], dict[str, np.ndarray], list[str]]]:
    """Yields (files and their whole pictures [H, W, C], outputs for them, what was unreadable)."""
    from cvjax.data.bad_examples import BadExample
    from cvjax.data.decode import decode_image

    for start in range(0, len(files), size):
        read, seen, bad = [], [], []
        for file in files[start : start + size]:
            try:
                picture = decode_image(file.read_bytes(), channels=predictor.channels)
                seen.append(predictor.view(picture, np.random.default_rng(0)))
                read.append((file, picture))
            except (BadExample, OSError) as error:
                bad.append(f"{file}: {getattr(error, 'reason', error)}")
        outputs: dict[str, np.ndarray] = {}
        if read:
            padding = [np.zeros_like(seen[0])] * (min(size, len(files)) - len(seen))
            outputs = predictor.predict(np.stack(seen + padding))
        yield read, outputs, bad


def boxes_in_picture(boxes: np.ndarray, view: Any, shape: tuple[int, int]) -> np.ndarray:
    """`boxes` [N, 4] of what `view` shows, in pixels of the whole picture of `shape` (h, w).

    Raises:
        ValueError: for a view that is not known to show one upright box of the picture.
    """
    from cvjax.data.views import Resize, ResizeCenterCrop

    if isinstance(view, Resize):
        top, left, height, width = 0, 0, *shape
    elif isinstance(view, ResizeCenterCrop):
        box = view.box(*shape)
        top, left, height, width = box.top, box.left, box.height, box.width
    else:
        raise ValueError(f"boxes cannot be brought back from the view {type(view).__name__}.")
    scale = np.array([width, height, width, height]) / view.size
    found = boxes * scale + np.array([left, top, left, top])
    return np.clip(found, 0, np.array([shape[1], shape[0]] * 2))


def main(argv: Sequence[str] | None = None, *, own_process: bool = False) -> int:
    """Runs the command line and returns the exit status.

    In a process of its own it settles how that takes memory and runs programs.
    """
    parser = argparse.ArgumentParser(
        prog="python -m cvjax.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", nargs="+", help="files, or folders of files")
    parser.add_argument("--workdir", required=True, help="of a finished or running run")
    parser.add_argument("--checkpoint", default="best", help="'best', 'latest' or a step")
    parser.add_argument("--out", type=Path, help="where to draw: a file for one picture, a folder")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    parser.add_argument("--min_score", type=float, default=0.3, help="to be printed and drawn")
    parser.add_argument("--batch_size", type=int, default=16)
    options = parser.parse_args(argv)
    if options.batch_size < 1 or not 0 <= options.min_score <= 1:
        parser.error("--batch_size has to be at least 1, and --min_score in [0, 1].")
    try:
        if own_process:
            keep_step_memory()
        return _run(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    files = find_pictures(options.pictures)
    predictor = load(options.workdir, checkpoint=options.checkpoint)
    ids = _picture_ids(files)
    drawings = _drawings(options.out, files)
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for read, outputs, bad in batches(predictor, files, options.batch_size):
        for problem in bad:
            unreadable += 1
            print(f"left out: {problem}", file=sys.stderr)
        for i, (file, picture) in enumerate(read):
            found = {name: value[i] for name, value in outputs.items()}
            if "detected_boxes" in found:
                here = _detections(found, predictor, picture.shape[:2])
                rows += [{"image_id": ids[file], "file_name": str(file), **row} for row in here]
                shown = [row for row in here if row["score"] >= options.min_score]
                _print_boxes(file, shown)
                if drawings:
                    _draw(picture, shown, drawings[file])
            elif "logits" in found:
                if drawings:
                    raise ValueError("--out: a classifier finds no boxes to draw; leave it out.")
                classes = _best_classes(found, predictor.class_names)
                rows.append({"file_name": str(file), "classes": classes})
                told = ", ".join(f"{row['category']} {row['score']:.3f}" for row in classes)
                print(f"{file}: {told}")
            else:
                raise ValueError(
                    f"{options.workdir}: the run's task answers with {sorted(found)}; boxes and "
                    "classes are what can be shown here."
                )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if unreadable else 0


def _run_folder(workdir: Path) -> Path:
    """The workdir, or its last stage's."""
    if (workdir / "config.json").is_file():
        return workdir
    stages = workdir / "stages.json"
    if stages.is_file():
        return workdir / json.loads(stages.read_text())["stages"][-1]["stage"]
    raise ValueError(
        f"{workdir} is no workdir of a run: it has neither config.json nor stages.json. Give the "
        "folder that --workdir named in training."
    )


def _picture_ids(files: Sequence[Path]) -> dict[Path, int]:
    if all(file.stem.isdecimal() for file in files):
        ids = {file: int(file.stem) for file in files}
        if len(set(ids.values())) == len(files):
            return ids
    return {file: i for i, file in enumerate(files, start=1)}


def _drawings(out: Path | None, files: Sequence[Path]) -> dict[Path, Path]:
    """Where each picture's drawing goes; {} where none is wanted.

    Raises:
        ValueError: if one file is to hold several drawings.
    """
    if out is None:
        return {}
    if out.suffix.lower() in EXTENSIONS and not out.is_dir():
        if len(files) > 1:
            raise ValueError(f"--out={out}: one file for {len(files)} pictures; name a folder.")
        return {files[0]: out}
    names = [file.stem for file in files]
    if len(set(names)) < len(names):  # a.jpg beside a.png
        names = [str(file).replace("/", "_") for file in files]
    return {file: out / f"{name}.png" for file, name in zip(files, names)}


def _detections(
    found: dict[str, np.ndarray], predictor: Predictor, shape: tuple[int, int]
) -> list[dict[str, Any]]:
    """COCO's rows of one picture, by descending score."""
    valid = found["detected_valid"]
    boxes = boxes_in_picture(found["detected_boxes"][valid], predictor.view, shape)
    labels, scores = found["detected_label"][valid], found["detected_score"][valid]
    rows = []
    for (x1, y1, x2, y2), label, score in zip(boxes.tolist(), labels.tolist(), scores.tolist()):
        box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
        name = predictor.class_names[label]
        rows.append({"category_id": label, "category": name, "bbox": box, "score": score})
    return rows


def _print_boxes(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    print(f"{file}: {len(rows)} found")
    for row in rows:
        x, y, width, height = row["bbox"]
        print(
            f"  {row['category']:16} {row['score']:.3f}  x {x:.1f}  y {y:.1f}  "
            f"width {width:.1f}  height {height:.1f}"
        )


def _draw(picture: np.ndarray, rows: Sequence[dict[str, Any]], path: Path) -> None:
    from PIL import Image

    from cvjax.vis.boxes import FOUND_COLOR, draw_boxes

    rows = rows[::-1]  # the best one's caption comes on top
    boxes = np.array([row["bbox"] for row in rows]).reshape(-1, 4)
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    captions = [f"{row['category']} {row['score']:.2f}" for row in rows]
    scale = max(1, _SMALLEST_DRAWING // max(picture.shape[:2]))
    drawn = draw_boxes(picture, boxes, captions=captions, color=FOUND_COLOR, scale=scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(path)


def _best_classes(found: dict[str, np.ndarray], names: Sequence[str]) -> list[dict[str, Any]]:
    """Of probabilities, or of the scores of a model that has none."""
    scores = found.get("probability", found["logits"])
    best = np.argsort(-scores, kind="stable")[:_SHOWN_CLASSES]
    return [{"category_id": int(k), "category": names[k], "score": float(scores[k])} for k in best]


if __name__ == "__main__":
    start_with_huge_pages()
    sys.exit(main(own_process=True))
