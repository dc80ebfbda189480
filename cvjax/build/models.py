"""The section `model` to a module."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict, config_dict

import cvjax.models
from cvjax.build.lookup import checked
from cvjax.config import ConfigError
from cvjax.data.source import SourceInfo
from cvjax.pretrained.origin import variables_at

_BACKBONE = "backbone:"  # and where the weights of a model's backbone are


def fill_model(section: ConfigDict) -> None:
    """The model's own defaults, so that `--config.model.dtype=bfloat16` and the like work."""
    if not isinstance(section.get("name"), str):
        raise ConfigError(f"model.name is missing. There are: {cvjax.models.list_models()}.")
    defaults = checked(lambda: cvjax.models.default_fields(section.name))
    if section.get("num_classes") is None and cvjax.models.has_field(section.name, "num_classes"):
        section.num_classes = config_dict.placeholder(int)
    for name, value in defaults.items():
        if name == "dtype":
            value = jnp.dtype(value).name
        if name not in section and isinstance(value, (bool, int, float, str, tuple)):
            section[name] = value


def model_fields(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section with `model_name` for `name`, and a type for the type's name."""
    fields = {"model_name" if key == "name" else key: value for key, value in section.items()}
    if isinstance(fields.get("dtype"), str):
        try:
            fields["dtype"] = jnp.dtype(fields["dtype"])
        except TypeError:
            raise ConfigError(
                f"model.dtype={fields['dtype']!r}: use 'float32', 'bfloat16' or 'float16'."
            ) from None
    return fields


def first_weights(origin: str, section: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `variables_at` finds for the model, or behind "backbone:" for the model's backbone.

    A backbone's variables lie below "backbone", as in the model; a classifier's head is among them
    and finds no place there. None where the origin is a workdir.

    Raises:
        ConfigError: if the model has no backbone, or that of a workdir is asked for.
        ValueError, ImportError, OSError: as `variables_at`.
    """
    if not origin.startswith(_BACKBONE):
        return variables_at(origin, **model_fields(section))
    inner, backbone = origin.removeprefix(_BACKBONE), section.get("backbone")
    if not backbone:
        raise ConfigError(
            f"train.init_from={origin!r}: config.model names no backbone. Set model.backbone."
        )
    fields = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    found = variables_at(inner, **model_fields(fields))
    if found is None:
        raise ConfigError(
            f"train.init_from={origin!r}: {inner!r} is no file or name of weights. Layers of a "
            r"workdir are taken by rules: init_rules=(('backbone/(.*)', r'\1'), ('.*', None))."
        )
    return {collection: {"backbone": tree} for collection, tree in found.items()}


def model_of(section: Mapping[str, Any], info: SourceInfo) -> Any:
    fields = model_fields(section)
    name = fields.pop("model_name")
    if not cvjax.models.has_field(name, "num_classes"):  # a generator, say
        return checked(lambda: cvjax.models.create(name, **fields))
    if fields.get("num_classes") is None:  # as many as the data has
        fields["num_classes"] = info.num_classes
    if fields["num_classes"] is None:
        raise ConfigError("model.num_classes: the data does not say how many classes; set it.")
    return checked(lambda: cvjax.models.create(name, **fields))
