"""The finished network that says what is in a picture, for losses on its features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import cvjax.models
from cvjax.build.lookup import checked, fetched_weights
from cvjax.config import ConfigError
from cvjax.image.normalize import IMAGENET_MEAN, IMAGENET_STD, normalize
from cvjax.pretrained.origin import variables_at
from cvjax.tasks.super_resolution import ContentNetwork

_PIXELS = "pixels"


def content_network_of(task_class: type, section: Mapping[str, Any]) -> dict[str, Any]:
    """{"content_network": it} of a task that has one by its section, {} of every other task.

    None for `content="pixels"`. Files of weights are of networks that see RGB with ImageNet's mean
    and deviation.

    Raises:
        ConfigError: if there are no such weights, or the network has no such feature.
    """
    if "content_network" not in getattr(task_class, "__dataclass_fields__", ()):
        return {}
    origin, feature = section["content"], section["content_feature"]
    if origin == _PIXELS or not isinstance(origin, str):  # which the task's fields refuse
        return {"content_network": None}
    mean, std, model_name = IMAGENET_MEAN, IMAGENET_STD, section["content_model"]
    if origin.startswith("fetch:"):
        known = fetched_weights(origin, "task.content")
        mean, std, model_name = known.mean, known.std, known.model
    elif not Path(origin).expanduser().is_file():
        raise ConfigError(
            f"task.content={origin!r}: use 'pixels', 'fetch:NAME' with a name of `python -m "
            f"cvjax.pretrained list`, or a file of weights of task.content_model={model_name!r}."
        )
    fields: dict[str, Any] = {"num_classes": None}
    if cvjax.models.has_field(model_name, "hidden"):
        fields["hidden"] = None  # VGG's dense layers, most of its weights, see no map
    model = checked(lambda: cvjax.models.create(model_name, **fields))

    def once(key: Any, image: Any) -> Any:
        variables = model.init({"params": key, "dropout": key}, image, train=False)
        return variables, model.apply(variables, image, train=False)[1]

    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes, features = jax.eval_shape(once, jax.random.key(0), image)
    maps = [name for name, value in features.items() if len(value.shape) == 4]
    if feature not in maps:
        raise ConfigError(f"task.content_feature={feature!r}: {model_name} has {', '.join(maps)}.")
    variables = _only(checked(lambda: variables_at(origin, model_name)), shapes)

    def look(variables: Any, image: Any) -> Any:
        image = jnp.broadcast_to(image, (*image.shape[:3], 3))
        image = normalize(image, mean=mean, std=std)
        return model.apply(variables, image, train=False)[1][feature]

    return {"content_network": ContentNetwork(variables, look)}


def _only(tree: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `tree` that `shapes` has: without head and dense layers."""
    return {
        name: _only(tree[name], inner) if isinstance(inner, Mapping) else tree[name]
        for name, inner in shapes.items()
    }
