"""Detection: its operations, inference and training steps, ours against torchvision's in turn.

    python -m benchmarks.detection [--rounds 3] [--turn_seconds 0.5] [--workloads nms iou ...]
                                   [--out FILE]

Rows of workloads that are not asked for stay as they are in the file.

- nms: all boxes that greedy suppression at IoU 0.5 leaves of 1k, 10k and 100k, whose centres are
  uniform over 800x800 pixels and whose sides are 16 to 256, log-uniform; of one class and of 80.
  "100 of 10k": the best 100, which is what a detector asks for; torchvision finds all and cuts.
- iou: 5000 boxes against 5000.
- roi_align: 512 boxes read 7x7 pieces from maps of 256 channels at strides 4 to 32 of an 800x800
  picture, 2x2 samples a bin; forward, and the maps' gradient of the sum of squares.
- infer_*: RetinaNet and Faster R-CNN (ResNet-50 FPN, 91 outputs) from a float picture of 800x800 to
  detections, batch 1, both with the same random weights. RetinaNet's score threshold is 0, so that
  each level's 1000 best go through NMS; Faster R-CNN's is 0.05, as published.
- train_*: loss, gradient and an SGD step with momentum, batch 1, on scenes of 800x800, 10 classes,
  nothing frozen. Ours is the step that launch.py runs, from uint8 pictures, metrics and all.

The contenders take turns in every round; times are medians over the rounds, ratios medians of the
rounds' ratios (above 1: ours is faster). float32. torchvision, which cvjax itself never imports, is
compared with where it is installed.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.bare_step import BareStep
from benchmarks.device import ON_GPU
from benchmarks.known_rows import known_rows
from benchmarks.turns import Run, milliseconds, ratios, take_turns
from cvjax import build
from cvjax.models import create
from cvjax.ops.boxes import pairwise_iou
from cvjax.ops.compiling import compiler_options
from cvjax.ops.nms import nms
from cvjax.ops.roi import assign_levels, roi_align
from cvjax.pretrained import from_torch
from cvjax.process_memory import start_with_huge_pages
from cvjax.tasks.detection import Detection
from cvjax.tasks.two_stage_detection import TwoStageDetection
from cvjax.train.writer import environment
from experiments.machine import machine_kind

try:
    import torch
    import torchvision
except ImportError:
    torch = torchvision = None

ROOT = Path(__file__).resolve().parents[1]
SIDE = 800
CLASSES = 80
Contenders = tuple[str, dict[str, Run]]  # a row's name, and "cvjax" and perhaps "torchvision"


def main() -> None:
    """Measures, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    turn_help = "one turn of a contender takes about this long, once its work at least"
    parser.add_argument("--turn_seconds", type=float, default=0.5, help=turn_help)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    default = ROOT / "benchmarks" / "results" / f"detection_{jax.default_backend()}.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    columns = {
        "workload": "workload",
        "machine": "measured on",
        "cvjax_ms": "cvjax, ms",
        "torchvision_ms": "torchvision, ms",
        "ratio": "torchvision / cvjax",
    }
    if torchvision is None:
        print("torchvision is not installed: cvjax alone", file=sys.stderr)
    print("  ".join(columns.values()))
    known = known_rows(options.out)
    machine = machine_kind(environment())
    for workload in options.workloads:
        rows = []
        for name, contenders in WORKLOADS[workload]():
            row = measure(name, contenders, options.rounds, options.turn_seconds)
            row["machine"] = machine
            print("  ".join(str(row[key]) for key in columns), flush=True)
            rows.append({"kind": workload, **row})
            # What was measured stays if a later one takes too long, and so do other workloads.
            others = [row for row in known if row["kind"] != workload]
            order = list(WORKLOADS)
            together = sorted([*others, *rows], key=lambda row: order.index(row["kind"]))
            write(options.out, columns, together)
        known = together


def write(path: Path, columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """The result so far."""
    peers = {} if torch is None else {"torch": torch.__version__}
    peers |= {} if torchvision is None else {"torchvision": torchvision.__version__}
    result = {
        "command": "python -m benchmarks.detection",
        "environment": {**environment(), **peers},
        "unit": "milliseconds, float32; ratios above 1: cvjax is faster",
        "columns": columns,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def measure(
    name: str, contenders: dict[str, Run], rounds: int, turn_seconds: float
) -> dict[str, Any]:
    """One row of the table."""
    for run in contenders.values():
        run(1)  # compiles
    times = take_turns(contenders, rounds, turn_seconds)
    row: dict[str, Any] = {"workload": name, "cvjax_ms": milliseconds(times["cvjax"])}
    theirs = times.get("torchvision")
    found = ratios(theirs or [], times["cvjax"])
    row["torchvision_ms"] = milliseconds(theirs) if theirs else None
    row["ratio"] = round(statistics.median(found), 2) if found else None
    row["ratio_range"] = [round(min(found), 2), round(max(found), 2)] if found else None
    return row | {"rounds": rounds}


def nms_rows() -> Iterator[Contenders]:
    """All that is left, of one class and of many; and the best 100."""
    for count, max_outputs in ((1_000,) * 2, (10_000,) * 2, (100_000,) * 2, (10_000, 100)):
        boxes, scores, labels = _boxes(count)
        few = max_outputs < count
        for classes in (CLASSES,) if few else (1, CLASSES):
            arguments = (boxes, scores, labels) if classes > 1 else (boxes, scores)
            function = partial(nms, iou_threshold=0.5, max_outputs=max_outputs)
            runs = {"cvjax": _ours(function, *arguments)}
            if torchvision is not None:
                theirs = torchvision.ops.batched_nms if classes > 1 else torchvision.ops.nms

                def cut(*x: Any, theirs: Callable = theirs, limit: int = max_outputs) -> Any:
                    return theirs(*x, 0.5)[:limit]

                runs["torchvision"] = _theirs(cut, *arguments)
            of = "1 class" if classes == 1 else f"{classes} classes"
            asked = f"{max_outputs} of {count // 1000}k boxes" if few else f"{count // 1000}k boxes"
            yield f"NMS, {asked}, {of}", runs


def iou_rows() -> Iterator[Contenders]:
    """Every pair of two sets of boxes."""
    boxes, others = _boxes(5000)[0], _boxes(5000, seed=1)[0]
    runs = {"cvjax": _ours(pairwise_iou, boxes, others)}
    if torchvision is not None:
        runs["torchvision"] = _theirs(torchvision.ops.box_iou, boxes, others)
    yield "pairwise IoU, 5000 x 5000", runs


def roi_rows() -> Iterator[Contenders]:
    """What Faster R-CNN's second stage reads."""
    rng = np.random.default_rng(0)
    strides = (4, 8, 16, 32)
    maps = [rng.normal(size=(SIDE // s, SIDE // s, 256)).astype(np.float32) for s in strides]
    boxes = np.clip(_boxes(512)[0], 0, SIDE)

    def forward(maps: list[jax.Array], boxes: jax.Array) -> jax.Array:
        levels = assign_levels(boxes, lowest=2, highest=5)
        scales = [1 / s for s in strides]
        return roi_align(
            maps, boxes, levels, output=(7, 7), scales=scales, samples=2, aligned=False
        )

    gradient = jax.grad(lambda maps, boxes: jnp.square(forward(maps, boxes)).sum())
    names = [str(i) for i in range(len(strides))]

    def their_forward(*fields: Any) -> Any:
        *maps, boxes = fields
        pool = torchvision.ops.MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2)
        return pool(dict(zip(names, maps)), [boxes], [(SIDE, SIDE)])

    def their_gradient(*fields: Any) -> Any:
        return torch.autograd.grad(their_forward(*fields).square().sum(), fields[:-1])

    for name, ours, theirs in (
        ("RoIAlign, 512 boxes, forward", forward, their_forward),
        ("RoIAlign, 512 boxes, with gradient", gradient, their_gradient),
    ):
        runs = {"cvjax": _ours(ours, maps, boxes)}
        if torchvision is not None:
            needs = theirs is their_gradient
            flat = [np.ascontiguousarray(x.transpose(2, 0, 1)[None]) for x in maps]
            runs["torchvision"] = _theirs(theirs, *flat, boxes, gradient=needs)
        yield name, runs


def inference_rows(network: str) -> Iterator[Contenders]:
    """From a picture to detections."""
    image = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    label, name, task, background, threshold = NETWORKS[network]
    model = create(name, num_classes=91 - background)
    task = task(model, min_score=threshold)
    runs: dict[str, Run] = {}
    if torchvision is None:
        key = jax.random.key(0)
        variables = jax.jit(task.init)(key, {"image": jnp.asarray(image)})
    else:
        net = _network(name, 91, threshold).eval()
        state = {key: value.numpy() for key, value in net.state_dict().items()}
        variables = from_torch(name, state, num_classes=91 - background)
        pictures = [torch.from_numpy(image[0].transpose(2, 0, 1).copy()).to(_device())]
        runs["torchvision"] = _theirs(net.to(_device()), pictures)

    def predict(variables: Any, image: jax.Array) -> Any:
        return task.predict(variables, {"image": image})

    yield f"{label}, inference", {"cvjax": _ours(predict, variables, image), **runs}


def training_rows(network: str) -> Iterator[Contenders]:
    """The whole step."""
    label, name, task, background, threshold = NETWORKS[network]
    task_name = {Detection: "detection", TwoStageDetection: "two_stage_detection"}[task]
    config = ConfigDict(
        dict(
            model=dict(name=name),
            task=dict(name=task_name),
            data=dict(name="scenes", image_size=SIDE, batch_size=1, mean=0.5, std=0.25),
            optim=dict(name="momentum", lr=1e-4),
            train=dict(monitor="", steps=10**6),
        )
    )
    config.data.options = dict(num_examples=4)
    experiment = build.experiment(config)
    runs: dict[str, Run] = {"cvjax": BareStep(experiment).run}
    if torchvision is not None:
        source = experiment.train_source
        examples = [source[i] for i in range(len(source))]
        net = _network(name, 10 + background, threshold).train().to(_device())
        runs["torchvision"] = _TorchvisionStep(net, examples, background).run
    yield f"{label}, training step", runs


# Label, name (here and there), task, outputs for the background, score threshold of inference.
NETWORKS = {
    "retinanet": ("RetinaNet R50-FPN", "retinanet_resnet50_fpn", Detection, 0, 0.0),
    "faster_rcnn": ("Faster R-CNN R50-FPN", "fasterrcnn_resnet50_fpn", TwoStageDetection, 1, 0.05),
}
WORKLOADS: dict[str, Callable[[], Iterator[Contenders]]] = {
    "nms": nms_rows,
    "iou": iou_rows,
    "roi_align": roi_rows,
    **{f"infer_{name}": partial(inference_rows, name) for name in NETWORKS},
    **{f"train_{name}": partial(training_rows, name) for name in NETWORKS},
}


class _TorchvisionStep:
    """Losses, backward and an SGD step with momentum, as torchvision's reference has it."""

    def __init__(self, net: Any, examples: list[dict[str, np.ndarray]], background: int) -> None:
        self._net = net
        self._optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
        self._pictures, self._targets = [], []
        for example in examples:
            valid = example["box_valid"]
            picture = torch.from_numpy(example["image"].transpose(2, 0, 1) / np.float32(255))
            label = example["box_label"][valid].astype(np.int64) + background
            target = {"boxes": example["boxes"][valid], "labels": label}
            self._pictures.append(picture.to(_device()))
            target = {key: torch.from_numpy(value).to(_device()) for key, value in target.items()}
            self._targets.append(target)

    def run(self, steps: int) -> None:
        for step in range(steps):
            index = step % len(self._pictures)
            self._optimizer.zero_grad(set_to_none=True)
            losses = self._net([self._pictures[index]], [self._targets[index]])
            sum(losses.values()).backward()
            self._optimizer.step()
        _wait()


def _boxes(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, different scores, labels."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(0, SIDE, (count, 2))
    side = np.exp(rng.uniform(np.log(16), np.log(256), (count, 2)))
    boxes = np.concatenate([center - side / 2, center + side / 2], axis=1).astype(np.float32)
    scores = (rng.permutation(count) / count).astype(np.float32)
    return boxes, scores, rng.integers(0, CLASSES, count).astype(np.int32)


def _network(name: str, outputs: int, threshold: float) -> Any:
    torch.manual_seed(0)
    field = "score_thresh" if name.startswith("retinanet") else "box_score_thresh"
    make = getattr(torchvision.models.detection, name)
    options = {"min_size": SIDE, "max_size": SIDE, field: threshold}
    return make(weights=None, weights_backbone=None, num_classes=outputs, **options)


def _ours(function: Callable, *arguments: Any) -> Run:
    compiled = jax.jit(function, compiler_options=compiler_options())
    arguments = jax.device_put(arguments)

    def run(times: int) -> None:
        for _ in range(times):
            found = compiled(*arguments)
        jax.block_until_ready(found)

    return run


def _theirs(function: Callable, *arguments: Any, gradient: bool = False) -> Run:
    def on_device(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        x = torch.from_numpy(x.astype(np.int64) if x.dtype == np.int32 else x).to(_device())
        return x.requires_grad_(gradient and x.ndim == 4)

    arguments = [on_device(x) for x in arguments]

    def run(times: int) -> None:
        with torch.set_grad_enabled(gradient):
            for _ in range(times):
                function(*arguments)
        _wait()

    return run


def _device() -> str:
    return "cuda" if ON_GPU else "cpu"


def _wait() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


if __name__ == "__main__":
    start_with_huge_pages()
    main()
