"""Detectors that were trained on scenes, side by side: how fast, where time goes, what is missed.

    python -m benchmarks.scene_detectors RetinaNet=WORKDIR SSD=WORKDIR ... [--rounds 9] [--out FILE]

Each workdir is a finished run on the source `scenes`; its best checkpoint is judged on the run's
own test split. Seconds are the least of the rounds, in which all detectors take turns, so that what
else the machine does hits them alike; compiling is left out. Time is from uint8 pictures to
detections.

- `images_per_second` of batches of 16, `alone_ms` of one picture at a time;
- `backbone_share`: the backbone's forward pass alone over everything, of batches of 16;
- `recall_small`, `recall_medium`, `recall_large`: objects found, by thirds of the objects' size
  (the root of the area over the picture's side), when of each class as many of the best detections
  are looked at as there are objects; a detection finds what it overlaps by an IoU of 0.5;
- `AP_without_nms`, `AP50_without_nms`: nothing is suppressed; both ways up to 100 detections a
  picture stay. `AP`, `AP50` are with the run's own suppression.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cvjax import build
from cvjax.evaluators.coco_ap import coco_ap
from cvjax.evaluators.detections import (
    Detections,
    Truths,
    areas,
    best_overlaps,
    flat_detections,
    flat_truths,
)
from cvjax.evaluators.voc_ap import claims
from cvjax.nn.backbone_maps import select_maps
from cvjax.ops.compiling import compiler_options
from cvjax.process_memory import keep_step_memory, start_with_huge_pages
from cvjax.train.experiment import Experiment
from cvjax.train.restore import saved_variables
from cvjax.train.writer import environment

ROOT = Path(__file__).resolve().parents[1]
BATCH = 16
KEPT = 100  # detections a picture, COCO's
SIZES = ("small", "medium", "large")
FIELDS = ("boxes", "box_label", "box_valid")


@dataclass(frozen=True)
class Detector:
    """A finished run: what it predicts, as it was trained to and without suppression."""

    name: str
    experiment: Experiment
    variables: Any

    @property
    def task(self) -> Any:
        return replace(self.experiment.task, max_detections=KEPT)

    def predict(self, *, nms: bool = True) -> Callable[[Any, Any], Any]:
        # No two boxes overlap by more than 1: then all stay.
        task = self.task if nms else replace(self.task, nms_iou=1.0)
        prepare = self.experiment.eval_transform

        def predict(variables: Any, image: Any) -> Any:
            return task.predict(variables, prepare({"image": image}))

        return predict

    def backbone(self) -> Callable[[Any, Any], Any]:
        """(variables, uint8 pictures) -> the maps that the detector reads."""
        model, prepare = self.experiment.task.model, self.experiment.eval_transform

        def maps(variables: Any, image: Any) -> Any:
            own = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
            image = prepare({"image": image})["image"]
            _, features = model.backbone.apply(own, image, train=False)
            return select_maps(features, model.strides)

        return maps


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=WORKDIR")
    parser.add_argument("--rounds", type=int, default=9)
    default = ROOT / "benchmarks" / "results" / f"scene_detectors_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    detectors = [load(*run.split("=", 1)) for run in options.runs]
    rows = [{"detector": each.name, **accuracy(each)} for each in detectors]
    for row, times in zip(rows, speed(detectors, options.rounds)):
        row |= times
        print(json.dumps(row), flush=True)
    result = {
        "command": "python -m benchmarks.scene_detectors " + " ".join(sys.argv[1:]),
        "environment": environment(),
        "columns": {
            "detector": "detector",
            "side": "pixels",
            "AP50": "AP50",
            "AP": "AP",
            "AP_without_nms": "AP without NMS",
            "recall_small": "found, small",
            "recall_medium": "medium",
            "recall_large": "large",
            "images_per_second": "pictures a second, batches of 16",
            "alone_ms": "one alone, ms",
            "backbone_share": "share of the backbone",
        },
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def load(name: str, workdir: str) -> Detector:
    """The best checkpoint of a finished run."""
    config = json.loads((Path(workdir) / "config.json").read_text())
    experiment = build.experiment(ConfigDict(config))
    return Detector(name, experiment, saved_variables(workdir)[1])


def accuracy(detector: Detector) -> dict[str, Any]:
    """AP with and without suppression, and what is found by size, on the run's test split."""
    source = detector.experiment.evals["test"].source
    examples = [source[i] for i in range(len(source))]
    true = {name: np.stack([example[name] for example in examples]) for name in FIELDS}
    images = np.stack([example["image"] for example in examples])
    truths, side = flat_truths(true), images.shape[1]
    found: dict[str, Any] = {"side": side}
    for suffix, nms in (("", True), ("_without_nms", False)):
        detections = detect(detector, images, nms=nms)
        counts = {"num_images": len(images), "num_classes": source.info.num_classes}
        figures = coco_ap(detections, truths, **counts).figures
        found |= {f"{key}{suffix}": round(figures[key], 4) for key in ("AP", "AP50")}
        if nms:
            found |= recall_by_size(detections, truths, side)
    return found


def detect(detector: Detector, images: np.ndarray, *, nms: bool) -> Detections:
    """What is found in all pictures."""
    predict = jax.jit(detector.predict(nms=nms), compiler_options=compiler_options())
    parts = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        padding = [(0, BATCH - len(batch))] + [(0, 0)] * 3
        outputs = jax.device_get(predict(detector.variables, np.pad(batch, padding)))
        parts.append({key: value[: len(batch)] for key, value in outputs.items()})
    return flat_detections({key: np.concatenate([p[key] for p in parts]) for key in parts[0]})


def recall_by_size(detections: Detections, truths: Truths, side: int) -> dict[str, float]:
    """{recall_small, recall_medium, recall_large, and the two limits as shares of the side}."""
    hit = np.zeros(len(truths.label), bool)
    best = detections.best_first()
    for label in np.unique(truths.label):
        mine, same = best.label == label, np.flatnonzero(truths.label == label)
        boxes, image = best.boxes[mine][: len(same)], best.image[mine][: len(same)]
        overlap, which = best_overlaps(boxes, image, truths.boxes[same], truths.image[same])
        right, _ = claims(overlap >= 0.5, which, np.zeros(len(same), bool))
        hit[same[which[right]]] = True
    sizes = np.sqrt(areas(truths.boxes)) / side
    limits = np.quantile(sizes, [1 / 3, 2 / 3])
    thirds = np.searchsorted(limits, sizes, side="right")
    recalls = {f"recall_{name}": round(float(hit[thirds == i].mean()), 4)
               for i, name in enumerate(SIZES)}  # fmt: skip
    return recalls | {"size_limits": [round(float(limit), 4) for limit in limits]}


def speed(detectors: list[Detector], rounds: int) -> list[dict[str, float]]:
    """Of each detector: least seconds over the rounds, all taking turns."""
    programs = [_programs(detector) for detector in detectors]
    least: list[dict[str, float]] = [{} for _ in detectors]
    for _ in range(rounds + 1):  # the first compiles
        for functions, seconds in zip(programs, least):
            for name, function in functions.items():
                started = time.perf_counter()
                jax.block_until_ready(function())
                taken = time.perf_counter() - started
                seconds[name] = min(seconds.get(name, np.inf), taken)
    return [
        {
            "images_per_second": round(BATCH / seconds["whole"], 1),
            "alone_ms": round(1000 * seconds["alone"], 2),
            "backbone_share": round(seconds["backbone"] / seconds["whole"], 3),
        }
        for seconds in least
    ]


def _programs(detector: Detector) -> Mapping[str, Callable[[], Any]]:
    source = detector.experiment.evals["test"].source
    images = np.stack([source[i]["image"] for i in range(BATCH)])

    def program(function: Callable[[Any, Any], Any], images: np.ndarray) -> Callable[[], Any]:
        jitted = jax.jit(function, compiler_options=compiler_options())
        return lambda: jitted(detector.variables, images)

    return {
        "whole": program(detector.predict(), images),
        "alone": program(detector.predict(), images[:1]),
        "backbone": program(detector.backbone(), images),
    }


if __name__ == "__main__":
    start_with_huge_pages()
    keep_step_memory()
    main()
