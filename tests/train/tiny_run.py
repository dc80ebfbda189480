"""A config whose run takes a second and yet has every part of a big one, for tests of the loop.

Batch normalisation, dropout, augmentation, momentum, moving averages, plateau, early stopping,
accumulation, two evaluations at different intervals whose last batches are padded.
`tiny_experiment` is what build makes of it; with `register()` done, launch.py takes this file as
`--config tiny_run.py:{"train": {"steps": 8}}`, where JSON behind the colon changes the config.
"""

import copy
import dataclasses
import json
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import cvjax.models
from cvjax import build
from cvjax.data.source import SourceInfo
from cvjax.train.experiment import Experiment

CLASSES = 7
CONFIG = {
    "seed": 0,
    "model": {"name": "tiny_net"},
    "task": {"name": "classification"},
    "data": {
        "name": "blobs",
        "batch_size": 8,
        "augment": {
            "horizontal_flip": {},
            "translate": {"fraction": 0.2},
            "noise": {"std": 0.05},
        },
        "mean": 0.4,
        "std": 0.3,
    },
    "optim": {
        "lr": 0.05,
        "options": {"momentum": 0.9},
        "weight_decay": 1e-3,
        "accumulate": 2,
        "schedule": {
            "name": "plateau",
            "metric": "test/loss",
            "patience": 0,
            "factor": 0.5,
            "threshold": 0.05,
        },
    },
    "ema": {"decay": 0.9},
    "evals": {"test": {"split": "test", "every": 6}, "other": {"split": "other", "every": 9}},
    "train": {
        "steps": 26,
        "log_every": 4,
        "checkpoint_every": 5,
        "early_stop": 20,
        "tensorboard": False,
    },
}


class TinyNet(nn.Module):
    """Convolution, batch normalisation, dropout and a head: one of each kind of state."""

    num_classes: int | None
    width: int = 8
    dropout: float = 0.2
    norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(self.width, (3, 3), strides=2, dtype=self.dtype, name="conv")(image)
        if self.norm:
            x = nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype, name="norm")(x)
        x = nn.relu(x).reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x), {"pooled": x}


class Blobs:
    """Random pictures in memory, brighter in a row that tells the class."""

    counts = {"train": 60, "test": 22, "other": 13}  # noqa: RUF012

    def __init__(self, split: str, *, count: int = 0, num_classes: int = CLASSES) -> None:
        count = count or self.counts[split]
        rng = np.random.default_rng(list(self.counts).index(split))
        self.labels = rng.integers(0, num_classes, count).astype(np.int32)
        self.images = rng.integers(0, 120, (count, 8, 8, 1)).astype(np.uint8)
        for image, label in zip(self.images, self.labels):
            image[label % 8, :] += 60
        self.info = SourceInfo(f"blobs[{split}]", (), num_classes, (8, 8, 1))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"image": self.images[index], "label": np.asarray(self.labels[index])}

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.images[indices], "label": self.labels[indices]}

    def describe(self, index: int) -> str:
        return f"{self.info.name} example {index}"


def register() -> None:
    """Makes the model and the source known by name, as if they were files in cvjax."""
    cvjax.models.create("linear", num_classes=2)  # the table is made at the first question
    cvjax.models._variants()["tiny_net"] = (TinyNet, {})
    build.SOURCES["blobs"] = Blobs


def unregister() -> None:
    """Takes both names back."""
    cvjax.models._variants().pop("tiny_net", None)
    build.SOURCES.pop("blobs", None)


def get_config(arg: str = "") -> ConfigDict:
    """CONFIG changed as the JSON says; null removes a field."""
    return ConfigDict(_changed(CONFIG, json.loads(arg or "{}")))


def tiny_experiment(changes: dict[str, Any] | None = None, **parts: Any) -> Experiment:
    """The experiment of the changed config; `parts` replace attributes of it."""
    register()
    experiment = build.experiment(get_config(json.dumps(changes or {})))
    return dataclasses.replace(experiment, **parts)


def _changed(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(old)
    for name, value in changes.items():
        whole = name in ("augment", "schedule", "evals", "options")  # replaced, not merged
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict) and isinstance(new.get(name), dict) and not whole:
            new[name] = _changed(new[name], value)
        else:
            new[name] = value
    return new
