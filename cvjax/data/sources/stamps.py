"""Tux Paint's stamps: some three hundred cut-out pictures in ten classes, on made backgrounds.

Debian's package `tuxpaint-stamps-default` brings photographs and drawings as PNG files with
transparency, in folders by subject (https://tuxpaint.org/stamps).
They are read where the package put them. Small enough for minutes on a CPU, and real enough that
features learned on photographs help: made for transfer learning.
"""

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from cvjax.data.source import InMemory, InMemoryData, in_memory_data, select_part

# Where packages put the stamps: Debian's and its relatives', then a build of one's own.
FOLDERS = ("/usr/share/tuxpaint/stamps", "/usr/local/share/tuxpaint/stamps")
CLASSES: Mapping[str, str] = {
    "bird": "animals/birds",
    "clothes": "clothes",
    "flower": "plants/flowers",
    "fruit": "food/fruit",
    "household": "household",
    "insect": "animals/insects",
    "mammal": "animals/mammals",
    "road sign": "town/roadsigns",
    "vegetable": "food/vegetables",
    "vehicle": "vehicles",
}
BACKGROUNDS = ("plain", "texture")
_OPAQUE = 8  # of 255: what is fainter does not count as part of a cut-out's box
_LENGTHS = (0.6, 0.95)  # of a cut-out's longer side, in shares of the picture's


def stamps_folder(path: str = "") -> Path:
    """`path`, or the first of FOLDERS that exists.

    Raises:
        FileNotFoundError: where there is no such folder.
    """
    candidates = [path] if path else FOLDERS
    for candidate in candidates:
        root = Path(candidate).expanduser()
        if root.is_dir():
            return root
    raise FileNotFoundError(
        f"stamps: no folder {' or '.join(map(repr, candidates))}. Install Debian's package "
        "(also Ubuntu's) by `apt-get install --no-install-recommends tuxpaint-stamps-default`, "
        "220 MB; or give the folder that holds animals/, food/, plants/ ... as data.path."
    )


@dataclasses.dataclass(frozen=True)
class Stamps(InMemory):
    """The stamps' `split` ("train", "test" or "validation"), RGB, `image_size` pixels square.

    Each cut-out is shown once on each of `backgrounds`: "plain" is one colour, "texture" is
    coloured noise. Its size, place and background depend on the seed and its file's name alone.
    The split is by cut-out, by class and seeded: `test_fraction` and `validation_fraction` of each
    class's cut-outs, so that no picture is in two splits. Drawings (folders called "cartoon")
    belong to it unless `cartoons` is False; mirror images of other files (`*_mirror.png`) do not.
    """

    split: str
    _: dataclasses.KW_ONLY
    path: str = ""  # "" is the first of FOLDERS that exists
    image_size: int = 128
    backgrounds: tuple[str, ...] = BACKGROUNDS
    cartoons: bool = True
    test_fraction: float = 0.3
    validation_fraction: float = 0.0
    seed: int = 0

    def _load(self) -> InMemoryData:
        unknown = [name for name in self.backgrounds if name not in BACKGROUNDS]
        if unknown or not self.backgrounds:
            raise ValueError(
                f"stamps: backgrounds={self.backgrounds}; choose one or more of {BACKGROUNDS}."
            )
        files, labels = self._chosen
        images = [
            self._picture(name, background) for name in files for background in self.backgrounds
        ]
        return in_memory_data(
            f"stamps[{self.split}]",
            np.stack(images),
            np.repeat(labels, len(self.backgrounds)),
            class_names=tuple(CLASSES),
        )

    def describe(self, index: int) -> str:
        """The cut-out's file and its background."""
        which, background = divmod(index, len(self.backgrounds))
        file = stamps_folder(self.path) / self._chosen[0][which]
        return f"{file} on {self.backgrounds[background]}"

    @functools.cached_property
    def _chosen(self) -> tuple[list[str], np.ndarray]:
        """Paths below the root, and labels int32 [n], of the split's cut-outs."""
        root = stamps_folder(self.path)
        files, labels = [], []
        for label, (name, folder) in enumerate(CLASSES.items()):
            found = sorted(path.relative_to(root) for path in (root / folder).rglob("*.png"))
            kept = [
                path.as_posix()
                for path in found
                if not path.stem.endswith("_mirror")
                and (self.cartoons or "cartoon" not in path.parts)
            ]
            if not kept:
                raise FileNotFoundError(
                    f"stamps: {root} has no cut-outs of the class {name!r}: no *.png in "
                    f"{folder}. Is the whole package installed?"
                )
            files += kept
            labels += [label] * len(kept)
        indices = select_part(
            "stamps",
            np.array(labels),
            self.split,
            test_fraction=self.test_fraction,
            validation_fraction=self.validation_fraction,
            seed=self.seed,
        )
        return [files[i] for i in indices], np.array(labels, np.int32)[indices]

    def _picture(self, name: str, background: str) -> np.ndarray:
        """uint8 [S, S, 3]."""
        kind = BACKGROUNDS.index(background)
        rng = np.random.default_rng((self.seed, zlib.crc32(name.encode()), kind))
        size = self.image_size
        canvas = plain(rng, size) if background == "plain" else texture(rng, size)
        cut_out = read_cut_out(stamps_folder(self.path) / name)
        longer = max(1, round(size * rng.uniform(*_LENGTHS)))
        scale = longer / max(cut_out.size)
        width, height = (max(1, round(scale * side)) for side in cut_out.size)
        shrunk = cut_out.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (int(rng.integers(0, size - side + 1)) for side in (width, height))
        return composite(np.asarray(shrunk), canvas, top=top, left=left)


def read_cut_out(path: Path) -> Image.Image:
    """The picture's opaque part with colours multiplied by their opacity (Pillow's "RGBa").

    Multiplied, because resizing must not mix in the colours that transparent pixels happen to have.
    """
    with Image.open(path) as picture:
        layered = picture.convert("RGBA")
    opaque = layered.getchannel("A").point(lambda alpha: 255 * (alpha >= _OPAQUE))
    return layered.crop(opaque.getbbox()).convert("RGBa")


def plain(rng: np.random.Generator, size: int) -> Float[np.ndarray, "{size} {size} 3"]:
    """One colour, 0 to 255."""
    return np.broadcast_to(rng.uniform(0, 255, 3), (size, size, 3))


def texture(rng: np.random.Generator, size: int) -> Float[np.ndarray, "{size} {size} 3"]:
    """Two colours, 0 to 255, mixed by noise of four scales, each half as coarse and strong."""
    share = np.zeros((size, size))
    cells = int(rng.integers(2, 6))
    for octave in range(4):
        grid = Image.fromarray(rng.random((cells << octave,) * 2).astype(np.float32))
        smooth = np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
        share += 0.5**octave * smooth
    share = (share - share.min()) / max(np.ptp(share), 1e-6)
    one, other = rng.uniform(0, 255, (2, 3))
    return one + share[..., None] * (other - one)


def composite(cut_out: np.ndarray, canvas: np.ndarray, *, top: int, left: int) -> np.ndarray:
    """`cut_out` over `canvas` at that place, as new uint8 [H, W, 3].

    The cut-out is uint8 [h, w, 4] whose colours are multiplied by its opacity, the last channel;
    the canvas is [H, W, 3] from 0 to 255.
    """
    picture = np.array(canvas, np.float64)
    height, width = cut_out.shape[:2]
    region = picture[top : top + height, left : left + width]
    region *= 1 - cut_out[..., 3:] / 255
    region += cut_out[..., :3]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
