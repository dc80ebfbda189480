"""Input pipelines side by side: images per second and core, ours, tf.data, torch's DataLoader.

    python -m benchmarks.input_pipeline [--rounds 9] [--output benchmarks/results/...json]

Two workloads. JPEG: 256 files of 500x375 (crops of scikit-learn's two photographs, quality 90) are
read, decoded, randomly cropped (area 8-100%, aspect 3/4-4/3), resized to 224 and batched by 32.
Digits: the bundled digits at 28x28 in memory, shuffled and batched by 128.

The whole process runs on one core, and time is the CPU time of all its threads, so that other load
on the machine does not count. The contenders take turns in every round; a turn ends when the
threads that read ahead have come to rest, so that work done ahead is charged to whoever asked for
it. A library that is not installed is left out. tf.data's own resize does not antialias; ours and
Pillow's do, and tf.data is shown both ways. "View alone" is ours without reading files and making
batches: with the C part, with the packages that stand in for it (simplejpeg, cykooz-resizer), and
with simplejpeg and Pillow alone.
"""

import argparse
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # before anything counts cores to size its thread pool
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from cvjax.data import decode
from cvjax.data.pipeline import Reading, train_batches
from cvjax.data.sources.digits import Digits
from cvjax.data.sources.folder import Folder
from cvjax.data.views import make_view
from cvjax.train.writer import cpu_model

SIZE = 224
JPEG_BATCH, JPEG_BATCHES = 32, 8  # per turn
DIGIT_BATCH, DIGIT_BATCHES = 128, 300
PACKAGES = (
    "numpy", "pillow", "simplejpeg", "cykooz-resizer", "grain", "tensorflow-cpu", "tensorflow",
    "torch",
)  # fmt: skip

Contender = Callable[[], object]  # reads one batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "input_pipeline.json"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), count=256)
        workloads = {
            "jpeg_crop_224": (jpeg_contenders(folder), JPEG_BATCH, JPEG_BATCHES),
            "digits_28": (digit_contenders(), DIGIT_BATCH, DIGIT_BATCHES),
        }
        results = {
            name: compare(contenders, batch, batches, options.rounds)
            for name, (contenders, batch, batches) in workloads.items()
        }
    for name, rows in results.items():
        print_table(name, rows)
    report = {
        "command": "python -m benchmarks.input_pipeline " + " ".join(sys.argv[1:]),
        "device": f"{cpu_model()}, 1 core",
        "c_part": decode._jpeg is not None,
        "unit": "images per second of CPU time",
        "rounds": options.rounds,
        "versions": {"python": platform.python_version(), **versions()},
        "results": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nWritten to {options.output}")


def write_photographs(folder: Path, *, count: int) -> None:
    """JPEG files of 500x375 in two class folders, the same ones every time."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(count):
        label = number % 2
        photograph = photographs[label]
        width = int(rng.integers(500, min(photograph.width, photograph.height * 4 // 3) + 1))
        height = width * 3 // 4
        left = int(rng.integers(0, photograph.width - width + 1))
        top = int(rng.integers(0, photograph.height - height + 1))
        box = (left, top, left + width, top + height)
        picture = photograph.resize((500, 375), Image.Resampling.BICUBIC, box=box)
        if number % 4 >= 2:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        (folder / str(label)).mkdir(exist_ok=True)
        picture.save(folder / str(label) / f"{number:03}.jpg", quality=90)


def jpeg_contenders(folder: str) -> dict[str, Contender]:
    source = Folder("train", path=folder, test_fraction=0.0)
    view = make_view("random_resized_crop", SIZE, 3)
    files = [source.describe(index) for index in range(len(source))]
    labels = [int(source.encoded(index)[1]["label"]) for index in range(len(source))]
    contenders = {
        "cvjax": from_iterator(train_batches(source, reading(JPEG_BATCH, view), seed=0)),
        "cvjax, view alone": _view_alone(source, view),
        "cvjax, view alone, no C part": _view_alone(source, view, without=("_jpeg",)),
        "cvjax, view alone, Pillow": _view_alone(source, view, without=("_jpeg", "cykooz_resizer")),
    }
    if decode._jpeg is None:
        print("the C part of cvjax was not built: cvjax is measured without it")
    try:
        import tensorflow as tf
    except ImportError:
        print("tf.data is left out: tensorflow is not installed")
    else:
        for name, antialias in (("tf.data", False), ("tf.data, antialiased", True)):
            contenders[name] = from_iterator(tf_jpegs(tf, files, labels, antialias=antialias))
    try:
        import torch
    except ImportError:
        print("DataLoader is left out: torch is not installed")
    else:
        torch.set_num_threads(1)
        contenders["torch DataLoader, Pillow"] = from_iterator(torch_jpegs(torch, files, labels))
    return contenders


def digit_contenders() -> dict[str, Contender]:
    source = Digits("train", image_size=28)
    contenders = {"cvjax": from_iterator(train_batches(source, reading(DIGIT_BATCH), seed=0))}
    try:
        import tensorflow as tf
    except ImportError:
        pass  # said above
    else:
        dataset = tf.data.Dataset.from_tensor_slices((source.images, source.labels))
        dataset = dataset.shuffle(len(source)).repeat().batch(DIGIT_BATCH).prefetch(1)
        contenders["tf.data"] = from_iterator(dataset.as_numpy_iterator())
    try:
        import torch
    except ImportError:
        pass
    else:
        arrays = torch.utils.data.TensorDataset(
            torch.from_numpy(source.images.copy()), torch.from_numpy(source.labels.copy())
        )
        loader = torch.utils.data.DataLoader(
            arrays, batch_size=DIGIT_BATCH, shuffle=True, drop_last=True
        )
        contenders["torch DataLoader"] = from_iterator(_forever(loader))
    return contenders


def reading(batch_size: int, view=None) -> Reading:
    return Reading(batch_size=batch_size, rows=np.arange(batch_size), view=view, threads=1)


def _view_alone(source: Folder, view, *, without: tuple[str, ...] = ()) -> Contender:
    files = [source.encoded(index)[0] for index in range(len(source))]
    rng = np.random.default_rng(0)
    order = _forever(files)

    def views() -> None:
        kept = {name: getattr(decode, name) for name in without}
        try:
            for name in without:
                setattr(decode, name, None)
            for _ in range(JPEG_BATCH):
                view(next(order), rng)
        finally:
            for name, module in kept.items():
                setattr(decode, name, module)

    return views


def tf_jpegs(tf, files: list[str], labels: list[int], *, antialias: bool) -> Iterator:
    """The usual ImageNet pipeline: only the crop is decoded."""

    def load(path, label):
        data = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(data),
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        box = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.decode_and_crop_jpeg(data, box, channels=3)
        image = tf.image.resize(image, (SIZE, SIZE), antialias=antialias)
        return tf.cast(image, tf.uint8), label

    dataset = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(len(files)).repeat()
    return dataset.map(load).batch(JPEG_BATCH).prefetch(1).as_numpy_iterator()


def torch_jpegs(torch, files: list[str], labels: list[int]) -> Iterator:
    """As torchvision's RandomResizedCrop on Pillow images."""
    draw = make_view("random_resized_crop", SIZE).box
    rng = np.random.default_rng(0)

    class Crops(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int):
            with open(files[index], "rb") as file:
                picture = Image.open(io.BytesIO(file.read())).convert("RGB")
            top, left, height, width = draw(picture.height, picture.width, rng)
            crop = picture.crop((left, top, left + width, top + height))
            crop = crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(crop)), labels[index]

    loader = torch.utils.data.DataLoader(Crops(), batch_size=JPEG_BATCH, shuffle=True)
    return _forever(loader)


def from_iterator(batches: Iterator) -> Contender:
    return lambda: next(batches)


def _forever(iterable) -> Iterator:
    while True:
        yield from iterable


def compare(
    contenders: dict[str, Contender], batch: int, batches: int, rounds: int
) -> list[dict[str, object]]:
    """One row per contender: every round's images per second of CPU time, and their median."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for warm in (True, *[False] * rounds):
        for name, next_batch in contenders.items():
            start = at_rest()
            for _ in range(2 if warm else batches):
                next_batch()
            if not warm:
                speeds[name].append(batch * batches / (at_rest() - start))
    ours = speeds["cvjax"]
    return [
        {
            "library": name,
            "images_per_second": round(float(np.median(values)), 1),
            "cvjax_times_as_fast": round(
                float(np.median([a / b for a, b in zip(ours, values)])), 3
            ),
            "rounds": [round(value, 1) for value in values],
        }
        for name, values in speeds.items()
    ]


def at_rest() -> float:
    """The process's CPU time once no thread works any more."""
    while True:
        before = time.process_time()
        time.sleep(0.02)
        now = time.process_time()
        if now - before < 0.001:
            return now


def print_table(name: str, rows: list[dict[str, object]]) -> None:
    print(f"\n{name:<28}{'images/s per core':>18}{'cvjax is x as fast':>20}")
    for row in rows:
        print(
            f"{row['library']:<28}{row['images_per_second']:>18,.0f}"
            f"{row['cvjax_times_as_fast']:>20.2f}"
        )


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
