"""A finished network that judges what another generates."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

import cvjax.models
from cvjax.build.lookup import fetched_weights
from cvjax.config import ConfigError
from cvjax.data.source import SourceInfo
from cvjax.evaluators.generated import Judge
from cvjax.image.normalize import normalize
from cvjax.pretrained.fetch import WEIGHTS
from cvjax.pretrained.origin import variables_at
from cvjax.tasks.classification import Classification
from cvjax.train.checkpoint import Checkpoints
from cvjax.train.experiment import Experiment
from cvjax.train.setup import prepare


def judge_of(
    origin: str, field: str, info: SourceInfo, experiment: Callable[[ConfigDict], Experiment]
) -> Judge:
    """The finished network that `origin` means, for pictures as `info` describes them: a workdir of
    a classifier (its best checkpoint), or "fetch:NAME" of `cvjax.pretrained.fetch`. `experiment`
    is `cvjax.build.experiment`."""
    shape = info.image_shape
    if not isinstance(origin, str) or not origin:
        names = ", ".join(f"'fetch:{name}'" for name in WEIGHTS)
        raise ConfigError(f"{field}: name a classifier's workdir, or one of {names}.")
    if origin.startswith("fetch:"):
        known = fetched_weights(origin, field)
        model = cvjax.models.create(known.model, num_classes=known.num_classes)
        variables = variables_at(origin, known.model)

        def look(variables: Any, image: Any) -> dict[str, Any]:
            image = jnp.broadcast_to(image, (*image.shape[:3], 3))
            image = jax.image.resize(image, (len(image), known.size, known.size, 3), "bilinear")
            image = normalize(image, mean=known.mean, std=known.std)
            return {"features": model.apply(variables, image, train=False)[1]["pooled"]}

        return Judge(origin, variables, look, names_classes=False)
    record = Path(origin).expanduser() / "config.json"
    if not record.is_file():
        raise ConfigError(
            f"{field}={origin!r}: no workdir of a run is there (it has no config.json). Train one: "
            "python launch.py --config configs/classification/... --workdir " + origin
        )
    classifier = experiment(ConfigDict(json.loads(record.read_text())))
    task, transform = classifier.task, classifier.eval_transform
    if not isinstance(task, Classification):
        raise ConfigError(f"{field}={origin!r}: it is no classifier's workdir.")
    sees = classifier.train_source.info.image_shape
    if sees != shape:
        raise ConfigError(
            f"{field}={origin!r}: it looks at images of {sees} (h, w, c), and {info.name} has "
            f"{shape}. Train one at that size."
        )
    shapes = prepare(classifier).state_shapes
    with Checkpoints(record.parent / "checkpoints") as checkpoints:
        state = checkpoints.restore(checkpoints.find("best"), shapes).state

    def look(variables: Any, image: Any) -> dict[str, Any]:
        batch = transform({"image": image})
        return {
            "features": task.features(variables, batch)["pooled"],
            "logits": task.predict(variables, batch)["logits"],
        }

    variables = jax.device_get(state.evaluation_variables)
    return Judge(origin, variables, look, task.model.num_classes == info.num_classes)
