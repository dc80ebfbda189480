"""Names to objects, with errors that name the field."""

from collections.abc import Mapping
from typing import Any

from cvjax.config import (
    ConfigError,
    nearest,
)
from cvjax.pretrained.fetch import WEIGHTS, Weights


def named(table: Mapping[str, Any], section: Mapping[str, Any], field: str) -> Any:
    name = section.get("name")
    if name not in table:
        raise ConfigError(f"{field}.name={name!r}: no such {field}.{nearest(str(name), table)}")
    return table[name]


def checked(make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ConfigError(str(error)) from error


def fetched_weights(origin: str, field: str) -> Weights:
    """What "fetch:NAME" means.

    Raises:
        ConfigError: if there are no weights of that name.
    """
    name = origin.removeprefix("fetch:")
    if name not in WEIGHTS:
        raise ConfigError(f"{field}={origin!r}: nothing is called that.{nearest(name, WEIGHTS)}")
    return WEIGHTS[name]
