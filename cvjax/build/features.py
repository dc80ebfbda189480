"""`data.features`: a frozen network that stands between the images and the model."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax.config import (
    ConfigError,
    make_options,
)
from cvjax.data.options import DataOptions, FeatureOptions
from cvjax.data.source import Source
from cvjax.data.sources.features import Features
from cvjax.pretrained.fetch import cache_folder
from cvjax.pretrained.origin import identity_of
from cvjax.train.experiment import Experiment
from cvjax.train.feature_extraction import FeatureExtractor


def cached_features(
    record: Mapping[str, Any],
    data: DataOptions,
    sources: dict[str, Source],
    experiment: Callable[..., Experiment],
) -> Callable[[Source], Features]:
    """What puts the features of `data.features` in the place of a source's images.

    `experiment` is `cvjax.build.experiment`, for the frozen network's own config.
    """
    options = make_options(FeatureOptions, data.features, "data.features")
    images = {**record, "features": None}
    network = {
        "seed": options.seed,
        "model": dict(options.model),
        "task": {"name": "classification"},
        "data": images,
        "optim": {"lr": 0.0},
        "train": {
            "steps": 1,
            "monitor": "",
            "init_from": options.init_from,
            "init_rules": options.init_rules,
        },
    }
    try:
        whole = experiment(ConfigDict(network), stand_in_data=True, sources=sources)
    except ConfigError as error:
        raise ConfigError(f"data.features: {error}") from error
    extract = FeatureExtractor(whole, options.feature, average=options.average)
    seen = ("image_size", "channels", "mean", "std", "eval_view", "upsample")
    made_by = {
        "model": whole.config["model"],
        "init_from": options.init_from,
        "init_rules": options.init_rules,
        "weights": identity_of(options.init_from) if options.init_from else "random",
        "feature": options.feature,
        "average": options.average,
        "seed": options.seed,
        **{name: record[name] for name in seen},
        "jax": jax.__version__,
    }
    cache = Path(options.cache).expanduser() if options.cache else cache_folder() / "features"
    return lambda found: Features(
        found, extract=extract, width=lambda: extract.width, made_by=made_by, cache=cache
    )


def feature_picture(key: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Features [B, 1, 1, D], row by row in a grey square, the greatest of the batch white."""
    del key
    rows = batch["image"].reshape(len(batch["image"]), -1)
    side = math.isqrt(rows.shape[1] - 1) + 1
    rows = jnp.pad(rows, ((0, 0), (0, side**2 - rows.shape[1])))
    shown = rows / jnp.maximum(rows.max(), 1e-6)
    return {**batch, "image": shown.reshape(-1, side, side, 1)}
