"""Scenes: real handwritten digits composed into pictures whose every annotation is exact.

Each scene has a textured background and one to a dozen glyphs of random size, turn, stretch and
colour, the later ones over the earlier ones. What is annotated is what can be seen: a box is the
smallest around an object's visible pixels, a mask is those pixels. Example i is a function of
(options, i) alone, drawn when it is asked for; nothing is downloaded or stored. The digits of one
split are scans that no other split shows. `glyphs="stamps"` composes the coloured stamps of
Debian's tuxpaint-stamps-default instead, where that is installed.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cvjax.data.decode import set_channels
from cvjax.data.glyphs import (
    KEYPOINT_NAMES,
    Glyph,
    GlyphSet,
    digit_glyphs,
    level_for,
    stamp_glyphs,
)
from cvjax.data.source import SourceInfo

TARGETS = ("masks", "semantic", "keypoints", "caption")
SPLIT_SIZES = {"train": 4000, "validation": 500, "test": 500}
# What a caption says, word for word; class names come on top. Beyond MENTIONED objects, the
# smaller ones are only counted.
MENTIONED = 3
MAX_WORDS = 48
COLORS = {
    "red": (205, 45, 45),
    "orange": (235, 130, 35),
    "yellow": (235, 215, 60),
    "green": (50, 150, 65),
    "blue": (45, 85, 200),
    "purple": (130, 60, 165),
    "brown": (115, 75, 45),
    "white": (240, 240, 240),
    "grey": (130, 130, 130),
    "black": (25, 25, 25),
}
TEXTURES = ("plain", "shaded", "striped", "chequered", "cloudy")
SIZES = ("small", "medium", "large")
PLACES = (
    "top left", "top", "top right", "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
COUNTS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "many",
)  # fmt: skip

_FEWEST, _MOST = 1, 12  # objects a picture
_DRAWS = 9  # random numbers that an object takes, besides two for every try to place it
_PLACING_TRIES = 12
_MIN_PIXELS = 12  # an object with less to see is not put in
_CONTRAST = 110.0  # least distance, in RGB, between a glyph and the background's colours
_INK_LEVEL = 115  # ink at which a digit's edge is drawn, of 255
_NOISE = 12  # grey levels of sensor noise


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Scenes of one split: `image` uint8 [S, S, C] and what is in it, padded to `max_objects` = N
    of that split.

    Always: `boxes` float32 [N, 4] (xyxy, pixels, half-open), `box_label` int32 [N], `box_valid`
    bool [N]; valid boxes come first, in the order of painting, and padding is 0. As `targets` asks:

    - "masks": `masks` bool [N, S, S], the visible pixels;
    - "semantic": `semantic` int32 [S, S], 0 the background and class + 1 elsewhere;
    - "keypoints": `keypoints` float32 [N, 5, 3], (x, y, v) as `KEYPOINT_NAMES`: v is 2 where the
      point can be seen, 1 where a later object covers it, 0 in padding;
    - "caption": `tokens` int32 [48], indices into `info.words`, and `token_valid` bool [48].

    Attributes:
        split: "train", "validation" or "test".
        image_size: side of the picture, pixels.
        num_examples: of every split, or by split, as {"train": 20}; what is not said is 4,000 of
            "train" and 500 of the others.
        min_objects, max_objects: the number of objects is drawn evenly between them, of every
            split, or by split as `num_examples`, 1 and 12 where it is not said; a crowded picture
            may get fewer than were drawn, but none only where min_objects is 0.
        size: longer side of a glyph before it is turned, as a share of the picture's, log-uniform.
        rotation: largest turn either way, degrees.
        max_hidden: largest share of an object that later ones may cover.
        classes: the names that appear, in the order of their labels; () for all.
        annotated: those of them that are annotated, in the order of their labels; () for all.
            Objects of the others are painted as before and are background to every target.
        always: every picture holds an object of one of these; of every split, or by split as
            `num_examples`. () leaves it to chance.
        targets: what is annotated besides the boxes.
        glyphs: "digits" or "stamps".
        path: where the stamps are; "" is where packages put them.
    """

    split: str
    _: dataclasses.KW_ONLY
    image_size: int = 128
    channels: int = 3
    num_examples: int | Mapping[str, int] | None = None
    min_objects: int | Mapping[str, int] = _FEWEST
    max_objects: int | Mapping[str, int] = _MOST
    size: tuple[float, float] = (0.14, 0.45)
    rotation: float = 25.0
    max_hidden: float = 0.25
    classes: Sequence[str] = ()
    annotated: Sequence[str] = ()
    always: Sequence[str] | Mapping[str, Sequence[str]] = ()
    targets: Sequence[str] = ()
    glyphs: str = "digits"
    path: str = ""
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.split not in SPLIT_SIZES:
            problems.append(f"unknown split {self.split!r}; known: {list(SPLIT_SIZES)}.")
        if self.image_size < 16:
            problems.append(f"image_size={self.image_size} must be at least 16 pixels.")
        if self.channels not in (1, 3):
            problems.append(f"channels={self.channels} must be 1 or 3.")
        for name in ("num_examples", "min_objects", "max_objects", "always"):
            by_split = getattr(self, name)
            strange = set(by_split) - set(SPLIT_SIZES) if isinstance(by_split, Mapping) else ()
            if strange:
                problems.append(f"{name} names {sorted(strange)}; splits: {list(SPLIT_SIZES)}.")
        if len(self) < 1:
            problems.append(f"num_examples={self.num_examples} must be at least 1.")
        fewest, most = self._limits
        if not (0 <= fewest <= most and most > 0):
            problems.append(
                f"min_objects={self.min_objects} and max_objects={self.max_objects} must rise "
                f"from at least 0, to at least 1; of {self.split} they are {fewest} and {most}."
            )
        if len(self.size) != 2 or not 0 < self.size[0] <= self.size[1] <= 1:
            problems.append(f"size={self.size} must be 0 < smallest <= largest <= 1.")
        if not 0 <= self.max_hidden < 1:
            problems.append(f"max_hidden={self.max_hidden} must be in [0, 1).")
        if not 0 <= self.rotation <= 180:
            problems.append(f"rotation={self.rotation} must be in [0, 180] degrees.")
        unknown = [target for target in self.targets if target not in TARGETS]
        if unknown:
            problems.append(f"targets={unknown} are unknown; known: {list(TARGETS)}.")
        if self.glyphs not in ("digits", "stamps"):
            problems.append(f"glyphs={self.glyphs!r} must be 'digits' or 'stamps'.")
        if problems:
            raise ValueError("\n".join(f"scenes: {problem}" for problem in problems))
        for name, asked in (("annotated", self.annotated), ("always", self._always)):
            known = self._glyphs.class_names
            if not set(asked) <= set(known) or len(set(asked)) < len(asked):
                raise ValueError(
                    f"scenes: {name}={list(asked)} must be different names out of the classes that "
                    f"appear, {list(known)}."
                )
        if self._always and not fewest:
            raise ValueError(
                f"scenes: always={list(self._always)} needs min_objects of at least 1, got 0."
            )
        empty = [
            name
            for name, members in zip(self._glyphs.class_names, self._of_class)
            if not len(members)
        ]
        if empty:
            raise ValueError(
                f"scenes: no {self.glyphs} of classes {empty} in the {self.split} split; raise "
                "its fraction or leave them out of classes."
            )

    @functools.cached_property
    def info(self) -> SourceInfo:
        names = self._annotated
        caption, keypoints = "caption" in self.targets, "keypoints" in self.targets
        return SourceInfo(
            f"scenes[{self.split}]",
            names,
            len(names),
            (self.image_size, self.image_size, self.channels),
            keypoint_names=KEYPOINT_NAMES if keypoints else (),
            words=vocabulary(names) if caption else (),
        )

    def __len__(self) -> int:
        given = self._of_split(self.num_examples, None)
        return SPLIT_SIZES.get(self.split, 1) if given is None else given

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        scene = self._scene(index)
        shown = [i for i, thing in enumerate(scene.objects) if thing.label >= 0]
        count, limit = len(shown), self._limits[1]
        example = {
            "image": set_channels(scene.image, self.channels),
            "boxes": np.zeros((limit, 4), np.float32),
            "box_label": np.zeros(limit, np.int32),
            "box_valid": np.arange(limit) < count,
        }
        for i, thing in enumerate(scene.objects[j] for j in shown):
            example["boxes"][i] = thing.box
            example["box_label"][i] = thing.label
        if "masks" in self.targets:
            owners = np.array([*shown, *[limit] * (limit - count)])  # nothing is owned by `limit`
            example["masks"] = scene.owner == owners[:, None, None]
        if "semantic" in self.targets:
            labels = np.array([thing.label for thing in scene.objects] + [-1], np.int32)
            example["semantic"] = (labels + 1)[scene.owner]  # owner -1 is the last: background
        if "keypoints" in self.targets:
            example["keypoints"] = np.zeros((limit, len(KEYPOINT_NAMES), 3), np.float32)
            for i, j in enumerate(shown):
                example["keypoints"][i] = _seen_keypoints(scene, j)
        if "caption" in self.targets:
            example |= self._tokens(scene)
        return example

    def caption(self, index: int) -> str:
        """What scene `index` shows, in words that `info.words` has (with "caption" asked for)."""
        return " ".join(self._caption(self._scene(index)))

    def describe(self, index: int) -> str:
        return f"{self.info.name} scene {index} of seed {self.seed}"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _annotated(self) -> tuple[str, ...]:
        """The names of the labels 0, 1, ..."""
        return tuple(self.annotated) or self._glyphs.class_names

    @functools.cached_property
    def _label_of_class(self) -> list[int]:
        """The label of each class that appears, -1 where it is not annotated."""
        labels = {name: label for label, name in enumerate(self._annotated)}
        return [labels.get(name, -1) for name in self._glyphs.class_names]

    def _of_split(self, given: Any, default: Any) -> Any:
        """What an option that may be given by split is for this one."""
        return given.get(self.split, default) if isinstance(given, Mapping) else given

    @functools.cached_property
    def _limits(self) -> tuple[int, int]:
        """The smallest and the largest number of objects of this split's pictures."""
        fewest, most = self.min_objects, self.max_objects
        return self._of_split(fewest, _FEWEST), self._of_split(most, _MOST)

    @functools.cached_property
    def _always(self) -> Sequence[str]:
        return self._of_split(self.always, ())

    @functools.cached_property
    def _first_classes(self) -> Sequence[int]:
        """The classes of a picture's first object, as indices into those that appear."""
        names = self._glyphs.class_names
        return [names.index(name) for name in self._always] or range(len(names))

    @functools.cached_property
    def _glyphs(self) -> GlyphSet:
        shares = {
            "classes": self.classes,
            "test_fraction": self.test_fraction,
            "validation_fraction": self.validation_fraction,
        }
        if self.glyphs == "digits":
            return digit_glyphs(self.split, **shares)
        return stamp_glyphs(self.split, folder=self.path, **shares)

    @functools.cached_property
    def _of_class(self) -> list[np.ndarray]:
        return self._glyphs.of_class()

    def _scene(self, index: int) -> "_Scene":
        if not 0 <= index < len(self):
            raise IndexError(f"{self.info.name} has {len(self)} scenes, no scene {index}.")
        split = list(SPLIT_SIZES).index(self.split)
        rng = np.random.Generator(np.random.PCG64([self.seed, split, index]))
        canvas, texture, colors = _background(rng, self.image_size)
        side = self.image_size
        owner = np.full((side, side), -1, np.int16)
        scene = _Scene(canvas, owner, [], texture, colors[0])
        palette = _palette(colors)
        count, left, top = rng.random(3)
        fewest, most = self._limits
        wanted = fewest + int(count * (most + 1 - fewest))
        while True:
            for _ in range(wanted):
                self._add_object(scene, palette, rng.random(_DRAWS + 2 * _PLACING_TRIES).tolist())
            if scene.objects or not wanted:
                break
            wanted = 1
        for i, thing in enumerate(scene.objects):
            thing.box = _visible_box(scene.owner, i, thing.box)
        row, column = int(top * side), int(left * side)
        noisy = np.asarray(canvas) + self._noise[row : row + side, column : column + side]
        return scene._replace(image=np.clip(noisy, 0, 255, out=noisy).astype(np.uint8))

    @functools.cached_property
    def _noise(self) -> np.ndarray:
        """int16 [2S, 2S, 3], of which every scene shows another window."""
        rng = np.random.Generator(np.random.PCG64([self.seed, len(SPLIT_SIZES)]))
        shape = (2 * self.image_size, 2 * self.image_size, 3)
        return rng.integers(-_NOISE, _NOISE + 1, shape, dtype=np.int16)

    def _add_object(self, scene: "_Scene", palette: Sequence[str], draws: list[float]) -> None:
        """Paints one more glyph, unless no place for it is found. `draws` are from U(0, 1)."""
        which, member, larger, turn, wider, hue, *shade = draws[:_DRAWS]
        # What was not drawn or found no place is no first object: the next one is.
        choice = range(len(self._of_class)) if scene.objects else self._first_classes
        kind = choice[int(which * len(choice))]
        members = self._of_class[kind]
        glyph = self._glyphs.glyphs[members[int(member * len(members))]]
        low, high = (math.log(share * self.image_size) for share in self.size)
        longer = math.exp(low + (high - low) * larger)
        drawn = _draw_glyph(
            glyph, longer, math.radians(self.rotation * (2 * turn - 1)), 1.2 ** (2 * wider - 1)
        )
        height, width = drawn.alpha.shape
        side = self.image_size
        if height > side or width > side:
            return
        ink = drawn.alpha >= 128
        pixels = int(np.count_nonzero(ink))
        if pixels < _MIN_PIXELS:
            return
        for i in range(_DRAWS, len(draws), 2):
            left = int(draws[i] * (side - width + 1))
            top = int(draws[i + 1] * (side - height + 1))
            place = (slice(top, top + height), slice(left, left + width))
            under = scene.owner[place]
            hidden = np.bincount(under[ink] + 1, minlength=len(scene.objects) + 1).tolist()[1:]
            if all(
                thing.visible - less >= thing.pixels * (1 - self.max_hidden)
                for thing, less in zip(scene.objects, hidden)
            ):
                break
        else:
            return
        for thing, less in zip(scene.objects, hidden):
            thing.visible -= less
        color = palette[int(hue * len(palette))] if glyph.tinted else ""
        over = drawn.colors or tuple(
            min(255, max(0, int(level + 30 * draw - 15)))
            for level, draw in zip(COLORS[color], shade)
        )
        scene.canvas.paste(over, (left, top), Image.fromarray(drawn.alpha))
        under[ink] = len(scene.objects)
        keypoints = drawn.keypoints + (left, top)
        box = (left, top, left + width, top + height)
        label = self._label_of_class[kind]
        scene.objects.append(_Object(label, box, keypoints, pixels, pixels, color, longer / side))

    def _tokens(self, scene: "_Scene") -> dict[str, np.ndarray]:
        words = self._caption(scene)
        tokens = np.zeros(MAX_WORDS, np.int32)
        tokens[: len(words)] = [self._word_index[word] for word in words]
        return {"tokens": tokens, "token_valid": np.arange(MAX_WORDS) < len(words)}

    @functools.cached_property
    def _word_index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(vocabulary(self._annotated))}

    def _caption(self, scene: "_Scene") -> list[str]:
        """The count, the background, and the largest objects from left to right."""
        things = [thing for thing in scene.objects if thing.label >= 0]
        count = len(things)
        noun = "digit" if self.glyphs == "digits" else "thing"
        words = [COUNTS[min(count, len(COUNTS) - 1)], noun if count == 1 else f"{noun}s"]
        words += ["on", "a", scene.texture, scene.color, "background", ":"]
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (t.box for t in things)]
        largest = sorted(range(count), key=lambda i: (-areas[i], i))[:MENTIONED]
        largest.sort(key=lambda i: (things[i].box[0], i))
        thirds = np.exp(np.interp([1 / 3, 2 / 3], [0, 1], np.log(self.size)))
        for position, i in enumerate(largest):
            thing = things[i]
            if position:
                words.append("and" if position == len(largest) - 1 else ",")
            words += ["a", SIZES[int(np.searchsorted(thirds, thing.share))]]
            words += [thing.color] * bool(thing.color)
            words.append(self._annotated[thing.label])
            words += ["at", "the", *_place(thing.box, self.image_size).split()]
        return words


@dataclasses.dataclass
class _Object:
    label: int  # -1 where it is not annotated
    box: tuple[int, int, int, int]  # first where it was painted, at the end what is seen of it
    keypoints: np.ndarray  # [K, 2]
    pixels: int  # how many it has
    visible: int  # how many of them no later object covers
    color: str
    share: float  # its longer side before turning over the picture's


class _Scene(NamedTuple):
    canvas: Image.Image
    owner: np.ndarray  # int16 [S, S], the object that is seen there, -1 for none
    objects: list[_Object]
    texture: str
    color: str  # of the background
    image: np.ndarray | None = None  # uint8 [S, S, 3], when it is finished


class _Drawn(NamedTuple):
    """A glyph as it will be pasted."""

    alpha: np.ndarray  # uint8 [h, w]
    colors: Image.Image | None  # None for ink
    keypoints: np.ndarray  # [K, 2]


def vocabulary(class_names: Sequence[str]) -> tuple[str, ...]:
    """Every word of captions about these classes, each once."""
    places = [word for place in PLACES for word in place.split()]
    grammar = ("digit", "digits", "thing", "things", "on", "a", "background", ":", ",", "and",
               "at", "the")  # fmt: skip
    words = (*grammar, *COUNTS, *SIZES, *COLORS, *TEXTURES, *places, *class_names)
    return tuple(dict.fromkeys(words))


def _background(rng: np.random.Generator, side: int) -> tuple[Image.Image, str, tuple[str, str]]:
    """A picture of side x side pixels, its texture's name and its two colours', the main one first.

    The second colour is mixed half and half with the first, so that glyphs stand out from both.
    """
    which, one, other, angle, phase, period = rng.random(6).tolist()
    texture = TEXTURES[int(which * len(TEXTURES))]
    names = list(COLORS)
    first = names.pop(int(one * len(names)))
    second = names[int(other * len(names))]
    angle, period = math.pi * angle, 0.08 + 0.15 * period
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    if texture == "plain":
        weight = np.zeros((side, side), np.uint8)
    elif texture == "cloudy":
        cells = 3 + int(6 * phase)
        coarse = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        weight = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    elif texture == "chequered":
        odd = np.floor(steps / period + phase).astype(np.uint8) & 1
        weight = (odd[None, :] ^ odd[:, None]) * np.uint8(255)
    else:
        along = (steps * math.cos(angle))[None, :] + (steps * math.sin(angle))[:, None]
        if texture == "striped":
            weight = ((along / period + phase) % 1 > 0.55) * np.uint8(255)
        else:
            weight = ((along - along.min()) * (255 / np.ptp(along))).astype(np.uint8)
    low, high = (np.array(COLORS[name], np.float64) for name in (first, second))
    mixed = low + np.arange(256)[:, None] / 255 * (high - low) / 2
    canvas = Image.fromarray(np.rint(mixed).astype(np.uint8)[np.asarray(weight)])
    return canvas, texture, (first, second)


@functools.cache
def _palette(background: tuple[str, str]) -> list[str]:
    """The colours that stand out from a background of these two."""
    first, second = (np.array(COLORS[name], np.float64) for name in background)
    apart = {
        name: min(np.linalg.norm(color - first), np.linalg.norm(color - (first + second) / 2))
        for name, color in COLORS.items()
    }
    least = min(_CONTRAST, max(apart.values()))
    return [name for name, distance in apart.items() if distance >= least]


def _draw_glyph(glyph: Glyph, longer: float, angle: float, stretch: float) -> _Drawn:
    """The glyph `longer` pixels on its longer side, stretched, then turned by `angle` radians."""
    scale = longer / max(glyph.size)
    wide, high = scale * math.sqrt(stretch), scale / math.sqrt(stretch)
    cos, sin = math.cos(angle), math.sin(angle)
    # A point of the glyph, seen from its middle, times [[a, b], [c, d]] is one of the picture.
    a, b, c, d = cos * wide, sin * high, -sin * wide, cos * high
    across, down = glyph.size[0] / 2, glyph.size[1] / 2
    width = math.ceil(2 * (abs(a) * across + abs(b) * down))
    height = math.ceil(2 * (abs(c) * across + abs(d) * down))
    picture, level = level_for(glyph, max(wide, high))
    inverse = level / (a * d - b * c)
    back = (d * inverse, -b * inverse, -c * inverse, a * inverse)
    data = (
        *back[:2], across * level - (back[0] * width + back[1] * height) / 2,
        *back[2:], down * level - (back[2] * width + back[3] * height) / 2,
    )  # fmt: skip
    turned = picture.transform(
        (width, height), Image.Transform.AFFINE, data, resample=Image.Resampling.BILINEAR
    )
    from_middle = glyph.keypoints - (across, down)
    keypoints = from_middle @ ((a, c), (b, d)) + (width / 2, height / 2)
    if not glyph.tinted:
        return _Drawn(np.asarray(turned.getchannel("A")), turned.convert("RGB"), keypoints)
    # Ink fades over one scanned pixel; drawn larger, the edge is made about two pixels wide.
    sharpness = max(1.0, 4 * scale / 1.5)
    return _Drawn(_sharpening(round(8 * sharpness))[np.asarray(turned)], None, keypoints)


@functools.lru_cache(maxsize=256)
def _sharpening(eighths: int) -> np.ndarray:
    """uint8 [256], the alpha of each level of ink: contrast at the edge raised by eighths."""
    levels = (np.arange(256) - _INK_LEVEL) * (eighths / 8) + 127.5
    return np.clip(levels, 0, 255).astype(np.uint8)


def _visible_box(
    owner: np.ndarray, index: int, painted: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    left, top, right, bottom = painted
    seen = owner[top:bottom, left:right] == index
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return (
        left + int(columns[0]),
        top + int(rows[0]),
        left + int(columns[-1]) + 1,
        top + int(rows[-1]) + 1,
    )


def _seen_keypoints(scene: _Scene, index: int) -> np.ndarray:
    """float32 [K, 3]: (x, y, 2 or 1)."""
    points = scene.objects[index].keypoints
    side = len(scene.owner)
    columns, rows = np.clip(np.floor(points).astype(int), 0, side - 1).T
    covered = scene.owner[rows, columns] > index
    return np.column_stack([points, np.where(covered, 1, 2)]).astype(np.float32)


def _place(box: tuple[int, int, int, int], side: int) -> str:
    column, row = ((box[k] + box[k + 2]) * 3 // (2 * side) for k in (0, 1))
    return PLACES[3 * min(row, 2) + min(column, 2)]
