"""Everything that happens to a batch of pictures on the device, between the host and the model.

    transform = train_transform(
        dict(horizontal_flip={}, random_crop=dict(padding=4), cutout=dict(size=16), mixup={}),
        mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    batch = transform(key, batch)  # inside jit

Whatever the order in which they are named, augmentations are applied in this one:
  0. mosaic, of the example and the three before it;
  1. movements (`GEOMETRIC`), multiplied into one matrix and applied by one resampling; boxes,
     masks, semantic maps and keypoints move by the same matrix (`cvjax.image.marks`);
  2. colour, then noise, on values in [0, 1], clipped to [0, 1];
  3. normalisation by `mean` and `std`, then `whitening`;
  4. cutout, whose 0 is therefore the mean colour;
  5. mixup and cutmix, with the example before it in the (shuffled) batch as the partner;
  6. enlarging by `upsample_to`.

Options are those of the function in `AUGMENTATIONS`, and each also takes `p`, the probability
that an example gets it (flips: 0.5, the others: 1). Besides augmentations,
`resample=dict(fill="constant", value=0.0, order=1)` sets how `cvjax.image.warp.warp` resamples,
and `marks=dict(keep="center", keypoint_pairs=())` which objects stay and which keypoints a mirror
image exchanges, as `cvjax.image.marks.move_marks` takes them. SSD's recipe:

    dict(zoom_out=dict(p=0.5), iou_crop={}, horizontal_flip={}, color_jitter=dict(...),
         resample=dict(value=0.5))
"""

import difflib
import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cvjax.image import color, erase, geometry, mix
from cvjax.image import noise as pixel_noise
from cvjax.image.image_data_generator import image_data_generator
from cvjax.image.iou_crop import iou_crop
from cvjax.image.marks import MARKS, move_marks
from cvjax.image.matrix import Matrix, compose, identity, transform_boxes
from cvjax.image.mosaic import mosaic, with_room
from cvjax.image.normalize import normalize, to_float
from cvjax.image.options import Number, check_number
from cvjax.image.upsample import upsample
from cvjax.image.warp import move_whole_pixels, warp
from cvjax.image.whiten import Whitening

Batch = dict[str, Any]
Augment = Mapping[str, Any]  # name -> options (a mapping), as in the example above

# Each table in the order of application. (key, (height, width), **options) -> matrix
GEOMETRIC: dict[str, Callable[..., Matrix]] = {
    "zoom_out": geometry.zoom_out,
    "iou_crop": iou_crop,  # also takes the boxes, as moved so far, and which of them are valid
    "scale_jitter": geometry.scale_jitter,
    "random_crop": geometry.random_crop,
    "random_resized_crop": geometry.random_resized_crop,
    "horizontal_flip": geometry.horizontal_flip,
    "vertical_flip": geometry.vertical_flip,
    "zoom": geometry.zoom,
    "stretch": geometry.stretch,
    "shear": geometry.shear,
    "rotate": geometry.rotate,
    "translate": geometry.translate,
}
# (key, image in [0, 1], **options) -> image in [0, 1]
PIXELS: dict[str, Callable[..., Float[Array, "h w c"]]] = {
    "image_data_generator": image_data_generator,
    "color_jitter": color.color_jitter,
    "color_shift": color.color_shift,
    "pca_color": color.pca_color,
    "noise": pixel_noise.noise,
    "salt_and_pepper": pixel_noise.salt_and_pepper,
}
# (key, normalised image, **options) -> image
ERASING: dict[str, Callable[..., Float[Array, "h w c"]]] = {"cutout": erase.cutout}
# (key, image, other, **options) -> (image, weight of other)
MIXING: dict[str, Callable[..., tuple[Array, Array]]] = {"mixup": mix.mixup, "cutmix": mix.cutmix}

# (key, four examples, **options) -> example
COMPOSING: dict[str, Callable[..., Batch]] = {"mosaic": mosaic}

AUGMENTATIONS: dict[str, Callable[..., Any]] = {
    **COMPOSING, **GEOMETRIC, **PIXELS, **ERASING, **MIXING
}  # fmt: skip

# How what is done is done, in the place of an augmentation: options by name.
_MANNERS = {"resample": ("fill", "value", "order"), "marks": ("keep", "keypoint_pairs")}


def train_transform(
    augment: Augment,
    *,
    mean: Number | Sequence[Number] | None = None,
    std: Number | Sequence[Number] | None = None,
    whitening: Whitening | None = None,
    upsample_to: Mapping[str, Any] | None = None,
) -> Callable[[Key[Array, ""], Batch], Batch]:
    """The function `(key, batch) -> batch` that training applies to every batch.

    `batch["image"]` is uint8 [B,H,W,C], or float in [0, 1]; it becomes float32, augmented and
    normalised, of the same shape unless `upsample_to` (options of
    `cvjax.image.upsample.upsample`) enlarges it. Example i is drawn with `fold_in(key, i)`, i its
    place in the global batch, so the result is the same on one device and on many. mixup and
    cutmix add `mixed_label` [B] and `mix_weight` [B]; where both are named, each example gets
    either.

    Raises:
        ValueError: for an unknown augmentation or option (with the nearest known one) or a
            value out of range; all of them at once, before any batch is seen.
    """
    augment = {name: dict(options) for name, options in _checked(augment).items()}
    _check_values(augment, mean, std)
    alone = [name for name in augment if name in (*MIXING, "image_data_generator")]

    def transform(key: Key[Array, ""], batch: Batch) -> Batch:
        marks = [field for field in ("boxes", "masks", "semantic", "keypoints") if field in batch]
        if alone and marks:
            raise ValueError(f"augment: {alone} would leave {marks} of the batch behind.")
        of_one = [field for field in ("label", "tokens") if field in batch]
        if "mosaic" in augment and of_one:
            raise ValueError(f"augment: mosaic shows four pictures, but {of_one} tell of one.")
        if "iou_crop" in augment and not {"boxes", "box_valid"} <= set(batch):
            raise ValueError("augment: iou_crop needs batch['boxes'] and batch['box_valid'].")
        keys = example_keys(key, len(batch["image"]))
        if "mosaic" in augment:
            batch = _compose(keys, batch, augment)
        touched = {name: jnp.asarray(batch[name]) for name in ("image", *MARKS) if name in batch}
        touched = jax.vmap(
            lambda key, example: augment_example(
                key, example, augment, mean=mean, std=std, whitening=whitening
            )
        )(keys, touched)
        batch = {**batch, **touched}
        if any(name in augment for name in MIXING):
            batch = _mix(keys, batch, augment)
        return _enlarged(batch, upsample_to)

    return transform


def eval_transform(
    *,
    mean: Number | Sequence[Number] | None = None,
    std: Number | Sequence[Number] | None = None,
    whitening: Whitening | None = None,
    upsample_to: Mapping[str, Any] | None = None,
) -> Callable[[Batch], Batch]:
    """The function `batch -> batch` that evaluation applies: to [0, 1] and normalised as
    `train_transform` does, no more.

    Raises:
        ValueError: where mean or std is no number, or std is not positive.
    """
    _check_values({}, mean, std)

    def transform(batch: Batch) -> Batch:
        image = _normalize(to_float(jnp.asarray(batch["image"])), mean, std)
        image = image if whitening is None else whitening(image)
        return _enlarged({**batch, "image": image}, upsample_to)

    return transform


def augment_image(
    key: Key[Array, ""],
    image: Array,
    augment: Augment,
    *,
    mean: Number | Sequence[Number] | None = None,
    std: Number | Sequence[Number] | None = None,
    whitening: Whitening | None = None,
) -> Float[Array, "h w c"]:
    """The `image` of `augment_example`, where nothing is marked in it."""
    options = {"mean": mean, "std": std, "whitening": whitening}
    return augment_example(key, {"image": image}, augment, **options)["image"]


def augment_example(
    key: Key[Array, ""],
    example: Batch,
    augment: Augment,
    *,
    mean: Number | Sequence[Number] | None = None,
    std: Number | Sequence[Number] | None = None,
    whitening: Whitening | None = None,
) -> Batch:
    """One example after steps 1 to 4 of this file's docstring.

    `image` [H,W,C] is uint8 or float in [0, 1]; besides it come the fields of
    `cvjax.image.marks.MARKS` that the example has. Each augmentation draws from a key made of
    `key` and its own name, so adding or leaving out one does not change what the others do.

    Raises:
        ValueError: for an unknown augmentation or option.
    """
    _checked(augment)
    image = to_float(jnp.asarray(example["image"]))
    geometric = [name for name in GEOMETRIC if name in augment]
    if geometric:
        matrix = draw_matrix(key, image.shape[:2], augment, example)
        resample = dict(augment.get("resample", {}))
        marks = {name: value for name, value in example.items() if name in MARKS}
        if marks:
            fill = resample.get("fill", "constant")
            manner = augment.get("marks", {})
            example = {
                **example,
                **move_marks(marks, matrix, image.shape[:2], fill=fill, **manner),
            }
        if all(_moves_whole_pixels(name, augment[name]) for name in geometric):
            resample.pop("order", None)  # without effect: pixels land on pixels
            image = move_whole_pixels(image, matrix, **resample)
        else:
            image = warp(image, matrix, **resample)
    for name, function in PIXELS.items():
        image = _maybe(function, name, key, image, augment)
    image = _normalize(image, mean, std)
    image = image if whitening is None else whitening(image)
    for name, function in ERASING.items():
        image = _maybe(function, name, key, image, augment)
    return {**example, "image": image}


def draw_matrix(
    key: Key[Array, ""], shape: tuple[int, int], augment: Augment, marks: Batch | None = None
) -> Matrix:
    """The matrix by which `augment_example` of the same key moves a picture of `shape` (h, w).

    With `transform_points` or `transform_boxes` of `cvjax.image.matrix` it moves what is
    marked in the picture. `marks`: its `boxes` and `box_valid`, which "iou_crop" needs.
    """
    matrices = []
    for name, function in GEOMETRIC.items():
        if name in augment:
            options, gate, draw = _options(name, key, augment[name])
            seen = ()
            if function is iou_crop:
                boxes = jnp.asarray(marks["boxes"], jnp.float32)
                seen = (transform_boxes(boxes, compose(*matrices)), jnp.asarray(marks["box_valid"]))
            matrix = function(draw, shape, *seen, **options)
            matrices.append(matrix if gate is None else jnp.where(gate, matrix, identity()))
    return compose(*matrices)


def example_keys(key: Key[Array, ""], count: int) -> Key[Array, "b"]:
    """One key an example: `fold_in(key, i)` for i = 0 .. count - 1.

    A function of the example's place alone, so no split of the batch over devices changes it.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(count))


def _compose(keys: Key[Array, "b"], batch: Batch, augment: Augment) -> Batch:
    """Each example with the three before it in the (shuffled) batch."""
    fields = {
        name: jnp.asarray(value) for name, value in batch.items() if name not in ("valid", "index")
    }
    fours = {
        name: jnp.stack([jnp.roll(value, i, axis=0) for i in range(4)], axis=1)
        for name, value in fields.items()
    }
    manner = augment.get("marks", {})

    def compose_one(key: Key[Array, ""], examples: Batch) -> Batch:
        examples = {**examples, "image": to_float(examples["image"])}
        options, gate, draw = _options("mosaic", key, augment["mosaic"])
        composed = mosaic(draw, examples, **{**manner, **options})
        if gate is None:
            return composed
        single = with_room({name: value[0] for name, value in examples.items()})
        return jax.tree.map(lambda a, b: jnp.where(gate, a, b), composed, single)

    return {**batch, **jax.vmap(compose_one)(keys, fours)}


def _mix(keys: Key[Array, "b"], batch: Batch, augment: Augment) -> Batch:
    if "label" not in batch:
        raise ValueError("augment: mixup and cutmix need batch['label'], which is missing.")
    images, labels = batch["image"], jnp.asarray(batch["label"])
    # A shuffled batch's neighbour is as random a partner as a permutation's, and on several
    # devices only one example has to travel.
    others = jnp.roll(images, 1, axis=0)

    def mix_one(key: Key[Array, ""], image: Array, other: Array) -> tuple[Array, Array]:
        results = []
        for name, function in MIXING.items():
            if name in augment:
                options, gate, draw = _options(name, key, augment[name])
                mixed, weight = function(draw, image, other, **options)
                if gate is not None:
                    mixed = jnp.where(gate, mixed, image)
                    weight = jnp.where(gate, weight, 0.0)
                results.append((mixed, weight))
        if len(results) == 1:
            return results[0]
        first = jax.random.bernoulli(_named_key(key, "mixup or cutmix"))
        return jax.tree.map(lambda a, b: jnp.where(first, a, b), *results)

    images, weights = jax.vmap(mix_one)(keys, images, others)
    return {
        **batch,
        "image": images,
        "mixed_label": jnp.roll(labels, 1, axis=0),
        "mix_weight": weights,
    }


def _enlarged(batch: Batch, upsample_to: Mapping[str, Any] | None) -> Batch:
    if upsample_to is None:
        return batch
    marks = [name for name in ("boxes", "masks", "semantic", "keypoints") if name in batch]
    if marks:
        raise ValueError(
            f"upsample: enlarging images would leave {marks} of the batch behind; "
            "set data.image_size instead."
        )
    return {**batch, "image": upsample(batch["image"], **upsample_to)}


def _maybe(
    function: Callable[..., Array], name: str, key: Key[Array, ""], image: Array, augment: Augment
) -> Array:
    """`image` through `function`, if `augment` names it and the draw says so."""
    if name not in augment:
        return image
    options, gate, draw = _options(name, key, augment[name])
    changed = function(draw, image, **options)
    return changed if gate is None else jnp.where(gate, changed, image)


def _options(
    name: str, key: Key[Array, ""], options: Mapping[str, Any]
) -> tuple[dict[str, Any], Array | None, Key[Array, ""]]:
    """The options that the function takes, whether this example gets it (None: always), its key."""
    options = dict(options)
    draw = _named_key(key, name)
    p = 1.0
    if "p" not in inspect.signature(AUGMENTATIONS[name]).parameters:
        p = check_number("p", options.pop("p", 1.0), low=0.0, high=1.0)
    if p == 1.0:
        return options, None, draw
    gate_key, draw = jax.random.split(draw)
    return options, jax.random.bernoulli(gate_key, p), draw


def _named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _moves_whole_pixels(name: str, options: Mapping[str, Any]) -> bool:
    if name == "translate":
        return options.get("whole_pixels", True)
    return name in ("horizontal_flip", "vertical_flip", "random_crop")


def _normalize(
    image: Float[Array, "*b h w c"],
    mean: Number | Sequence[Number] | None,
    std: Number | Sequence[Number] | None,
) -> Float[Array, "*b h w c"]:
    if mean is None and std is None:
        return image
    return normalize(image, mean=0.0 if mean is None else mean, std=1.0 if std is None else std)


def _checked(augment: Augment) -> Augment:
    """`augment`, if every name and option in it exists."""
    problems = []
    for name, options in augment.items():
        known = [*AUGMENTATIONS, *_MANNERS]
        if name not in known:
            problems.append(f"augment.{name}: unknown augmentation.{_nearest(name, known)}")
            continue
        if not isinstance(options, Mapping):
            problems.append(
                f"augment.{name}={options!r} must be a dict of its options ({{}} for the defaults)."
            )
            continue
        fields = _MANNERS[name] if name in _MANNERS else _option_names(name)
        for field in options:
            if field not in fields:
                problems.append(f"augment.{name}.{field}: unknown option.{_nearest(field, fields)}")
    geometric = [name for name in GEOMETRIC if name in augment]
    if "image_data_generator" in augment and (geometric or "resample" in augment):
        others = [*geometric, *(["resample"] if "resample" in augment else [])]
        problems.append(
            f"augment.image_data_generator moves and resamples alone: use either it or {others}."
        )
    if "resample" in augment and not geometric:
        problems.append("augment.resample: no augmentation here resamples. Remove it.")
    if "marks" in augment and not geometric and "mosaic" not in augment:
        problems.append("augment.marks: no augmentation here moves anything. Remove it.")
    if problems:
        raise ValueError("\n".join(problems))
    return augment


def _option_names(name: str) -> list[str]:
    parameters = inspect.signature(AUGMENTATIONS[name]).parameters.values()
    names = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return names if "p" in names else [*names, "p"]


def _nearest(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    meant = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{meant} Known: {', '.join(known)}."


def _check_values(
    augment: Augment,
    mean: Number | Sequence[Number] | None,
    std: Number | Sequence[Number] | None,
) -> None:
    """Raises one error for all values out of range, found by tracing on shapes alone."""
    sizes = {len(v) for v in (mean, std) if isinstance(v, Sequence) and len(v) > 1}
    channels = max(sizes, default=3)
    image = jax.ShapeDtypeStruct((16, 16, channels), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    problems = []
    for name, options in augment.items():
        if name == "resample":
            # By a movement that interpolates, whichever of the movements are named.
            one = {"resample": options, "rotate": {}}
        elif name == "marks":
            one = {"marks": options, "rotate": {}}
        else:
            one = {name: options}

        def trace(key: Key[Array, ""], image: Array, one: Augment = one, name: str = name) -> Array:
            if name in MIXING:
                options, _, draw = _options(name, key, one[name])
                return MIXING[name](draw, image, image, **options)[0]
            boxes = {"boxes": jnp.zeros((1, 4)), "box_valid": jnp.zeros(1, bool)}
            if name in COMPOSING:
                options, _, draw = _options(name, key, one[name])
                fours = {n: jnp.stack([x] * 4) for n, x in {"image": image, **boxes}.items()}
                return COMPOSING[name](draw, fours, **options)["image"]
            return augment_example(key, {"image": image, **boxes}, one)["image"]

        try:
            jax.eval_shape(trace, key, image)
        except (TypeError, ValueError) as error:
            problems.append(f"augment.{name}: {error}")
    try:
        jax.eval_shape(lambda image: _normalize(image, mean, std), image)
    except (TypeError, ValueError) as error:
        problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
