"""The sections `data` and `evals` of a config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """`data.features`: a frozen network, whose features the model gets in the images' place.

    They are computed once, kept in files and read from there by later runs, see
    `cvjax.data.sources.features`. `data.mean`, `data.std` and `data.eval_view` are about the
    images that this network sees; the model sees its features as they are.

    Attributes:
        model: the network, a section as `model`.
        init_from, init_rules: its weights, as in the section `train`; without, they are random.
        feature: which of its features; maps are flattened.
        average: maps are averaged over their places instead.
        seed: of whatever is random in it.
        cache: folder of the files; "" is `features` in cvjax's cache folder.
    """

    model: Mapping[str, Any]
    init_from: str = ""
    init_rules: tuple[tuple[str, str | None] | tuple[str, str, str], ...] = ()
    feature: str = "pooled"
    average: bool = False
    seed: int = 0
    cache: str = ""


@dataclass(frozen=True, kw_only=True)
class WhitenOptions:
    """`data.whiten`: what is learnt from `examples` drawn from the training split.

    Attributes:
        kind: "mean_image", "per_pixel", "pca" or "zca".
        epsilon: added to each variance of images in [0, 1].
        examples: how many images, at most; a whitening needs several times as many as an image has
            values, and none of its variances is exact.
    """

    kind: str
    epsilon: float = 1e-3
    examples: int = 10000

    def __post_init__(self) -> None:
        if self.examples < 2:
            raise ValueError(f"data.whiten.examples is {self.examples}; at least 2 are needed.")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where examples come from and what happens to them before the model.

    Attributes:
        name: "digits", "scenes", "stamps", "idx", "folder", "coco", "voc", "arrays",
            "mixture", "tfds/<data set>" or "tfds_boxes/<data set>".
        path: the folder or file with the data, or several to look through in turn; for tfds the
            data_dir. "" is the source's own default.
        options: further arguments of the source, such as dict(test_fraction=0.2).
        in_memory: decode everything once, at the start: for small images, such as CIFAR's. Views
            then make no sense; `image_size` resizes each whole image.
        train_split: the split to train on.
        batch_size: examples in a global batch, over all devices and processes.
        image_size: side of the square images that the model sees, in pixels; None as they are.
        channels: 1 or 3; None as they are.
        train_view: host-side view in training, such as dict(name="random_resized_crop").
        eval_view: likewise in evaluation.
        augment: device-side augmentations by name, see `cvjax.image.augment`.
        mean, std: normalisation per channel, for images in [0, 1].
        whiten: preprocessing learnt from the training split in the place of mean and std, such as
            dict(kind="zca", epsilon=0.01); see WhitenOptions and `cvjax.image.whiten`.
        upsample: enlarges images on the device as the last step, such as dict(size=224), see
            `cvjax.image.upsample`.
        features: a network whose features replace the images, see FeatureOptions; None for none.
        on_bad_example: "error", or "skip" (counted and listed in skipped.log).
        workers: Grain worker processes; 0 reads in `threads` threads.
        prefetch: batches that wait on the device.
    """

    name: str
    path: str | tuple[str, ...] = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    in_memory: bool = False
    train_split: str = "train"
    batch_size: int = 128
    image_size: int | None = None
    channels: int | None = None
    train_view: Mapping[str, Any] | None = None
    eval_view: Mapping[str, Any] | None = None
    augment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    whiten: Mapping[str, Any] | None = None
    upsample: Mapping[str, Any] | None = None
    features: Mapping[str, Any] | None = None
    on_bad_example: str = "error"
    workers: int = 0
    threads: int = 2
    prefetch: int = 2

    def __post_init__(self) -> None:
        problems = []
        for name in ("batch_size", "threads", "prefetch", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"data.{name} is {value}; it has to be at least 1.")
        if self.workers < 0:
            problems.append(f"data.workers is {self.workers}; it can't be negative.")
        if self.channels not in (None, 1, 3):
            problems.append(f"data.channels is {self.channels}; use 1, 3 or None.")
        for name in ("train_view", "eval_view"):
            if self.in_memory and getattr(self, name) is not None:
                problems.append(f"data.{name} is set, but data.in_memory decodes whole images.")
        if self.whiten is not None and (self.mean is not None or self.std is not None):
            problems.append("data.whiten takes the place of data.mean and data.std; drop them.")
        if self.features is not None:
            problems += self._problems_of_features()
        if self.in_memory and self.on_bad_example == "skip":
            problems.append(
                "data.in_memory reads everything once and can't skip: set "
                "data.on_bad_example='error' or data.in_memory=False."
            )
        if problems:
            raise ValueError("\n".join(problems))

    def _problems_of_features(self) -> list[str]:
        given = {"augment": bool(self.augment), "train_view": self.train_view is not None}
        problems = [
            f"data.{name} is set, but data.features are computed once, of each image as evaluation "
            "sees it; freeze the network in the model instead (optim.groups) to augment."
            for name, is_set in given.items()
            if is_set
        ]
        if self.whiten is not None:
            problems.append("data.features of whitened images are not kept; use data.mean, std.")
        if self.on_bad_example == "skip":
            problems.append("data.features need every example: set data.on_bad_example='error'.")
        return problems


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """One entry of `evals`: `split` is evaluated each `every` steps (None: after every epoch).

    Attributes:
        evaluator: "" for the task's own; "multi_view" for predictions averaged over crops, mirror
            images or augmentations; "linear_probe" or "knn" for what can be learnt from the
            model's features of the training split; "samples" for pictures that the task draws;
            "generated", "latent_arithmetic" and "mode_coverage" for what a generator makes; see
            `cvjax.evaluators`.
        options: the evaluator's, such as dict(k=20).
    """

    split: str
    every: int | None = None
    evaluator: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
