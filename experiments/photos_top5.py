"""What fetched ImageNet weights see in the photographs that scikit-image and scikit-learn bundle.

    pip install scikit-image
    python -m experiments.photos_top5 efficientnet_lite0 squeezenet1_1

prints a table a network; `--write` puts it into docs/pretrained.md.
"""

import argparse
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs" / "pretrained.md"
CROP = 0.875  # the side of the crop, of the resized image's shorter side
# File names, and who ships them.
PHOTOS = {
    "chelsea.png": "skimage",
    "coffee.png": "skimage",
    "rocket.jpg": "skimage",
    "motorcycle_left.png": "skimage",
    "astronaut.png": "skimage",
    "coins.png": "skimage",
    "china.jpg": "sklearn",
    "flower.jpg": "sklearn",
}
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}


def photos() -> Iterator[tuple[str, Image.Image]]:
    """("chelsea.png", RGB image), ...; those of a package that is not installed are left out."""
    for name, package in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        path = Path(spec.submodule_search_locations[0]) / _FOLDERS[package] / name
        if path.is_file():
            yield name, Image.open(path).convert("RGB")


def centre_crop(image: Image.Image, size: int) -> np.ndarray:
    """[size, size, 3] in [0, 1]: antialiased bicubic, the middle of the shorter side's `CROP`."""
    scale = round(size / CROP) / min(image.size)
    width, height = (max(size, round(n * scale)) for n in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    cropped = resized.crop((left, top, left + size, top + size))
    return np.asarray(cropped, np.float32) / 255


def top5(name: str) -> dict[str, list[tuple[str, float]]]:
    """{photo: [(class name, probability), ...] of five} by the fetched weights `name`."""
    import jax

    from cvjax.models import create
    from cvjax.pretrained import from_torch, load_state_dict
    from cvjax.pretrained.fetch import WEIGHTS, fetch, imagenet_names

    known, classes = WEIGHTS[name], imagenet_names()
    state = load_state_dict(fetch(name))
    variables = from_torch(known.model, state, known.source, num_classes=known.num_classes)
    model = create(known.model, num_classes=known.num_classes)
    apply = jax.jit(lambda v, x: jax.nn.softmax(model.apply(v, x, train=False)[0]))
    found = {}
    for photo, image in photos():
        pixels = (centre_crop(image, known.size) - np.float32(known.mean)) / np.float32(known.std)
        shares = np.asarray(apply(variables, pixels[None].astype(np.float32)))[0]
        best = np.argsort(-shares)[:5]
        found[photo] = [(classes[i], float(shares[i])) for i in best]
    return found


def table(found: dict[str, list[tuple[str, float]]]) -> str:
    """As Markdown, a row a photo."""
    rows = ["| photo | top 5 |", "| --- | --- |"]
    for photo, best in found.items():
        rows.append(f"| {photo} | {', '.join(f'{name} {share:.0%}' for name, share in best)} |")
    return "\n".join(rows)


def main() -> None:
    """Prints the tables, and writes them with --write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--write", action="store_true", help=f"into {DOCS.name}")
    options = parser.parse_args()
    for name in options.names:
        text = table(top5(name))
        print(f"{name}\n{text}\n")
        if options.write:
            between = rf"(<!-- photos:{name} -->\n).*?(<!-- /photos -->)"
            filled = re.sub(between, rf"\g<1>{text}\n\g<2>", DOCS.read_text(), flags=re.DOTALL)
            DOCS.write_text(filled)


if __name__ == "__main__":
    main()
