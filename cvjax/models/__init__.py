"""Every architecture by name: `create("resnet50", num_classes=10)`, `list_models("resnet*")`.

A model file lies in one of the folders here (`classifiers/`, ...), holds one architecture family
and ends with a table `VARIANTS: {name: (module class, fields)}`. The folders are scanned at the
first question: a new file needs no registration, and `import cvjax.models` stays light.
"""

import dataclasses
import difflib
import fnmatch
import functools
import importlib
import pkgutil
import typing
from collections.abc import Mapping
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable
from flax import linen as nn

from cvjax.models.info import ModelInfo, info

__all__ = ["ModelInfo", "create", "default_fields", "has_field", "info", "list_models"]

_TYPES = BeartypeConf(is_pep484_tower=True)  # an int where a float is expected is fine


def create(name: str, **fields: Any) -> nn.Module:
    """The unbound module `name` with `fields` in place of its own (`num_classes`, `dtype`, ...).

    Classifiers take `num_classes`; None drops the head and with it the logits. A field that is a
    module, such as a detector's `backbone`, takes the name of a classifier, or a dict of its `name`
    and fields, and gets it without a head, in the `dtype` of the whole.

    Raises:
        ValueError: if no model has that name, or the model lacks such a field, or a required
            field is missing, or a value has the wrong type; it says which ones exist.
    """
    variants = _variants()
    if name not in variants:
        raise ValueError(f"no model is called {name!r}.{_nearest(name, variants)}")
    cls, preset = variants[name]
    known = {f.name: f for f in dataclasses.fields(cls) if f.name not in ("parent", "name")}
    fields = {k: _tuples(v) for k, v in {**preset, **fields}.items()}
    hints = typing.get_type_hints(cls)
    for field, value in fields.items():
        if hints.get(field) is nn.Module and isinstance(value, (str, Mapping)):
            part = {"name": value} if isinstance(value, str) else dict(value)
            dtype = {"dtype": fields["dtype"]} if "dtype" in fields else {}
            fields[field] = create(**{"num_classes": None, **dtype, **part})
    problems = []
    for field, value in fields.items():
        if field not in known:
            problems.append(f"it has no field {field!r}.{_nearest(field, known)}")
        elif not is_bearable(value, hints[field], conf=_TYPES):
            problems.append(f"{field}={value!r} is not of type {_type_name(hints[field])}.")
    for field, spec in known.items():
        has_default = (
            spec.default is not dataclasses.MISSING
            or spec.default_factory is not dataclasses.MISSING
        )
        if field not in fields and not has_default:
            problems.append(f"it needs {field} ({_type_name(hints[field])}).")
    if problems:
        raise ValueError("\n  ".join([f"model {name!r}:", *problems]))
    return cls(**fields)


def default_fields(name: str) -> dict[str, Any]:
    """What `create(name)` gives each field that has a value, for configs that list every option.

    Raises:
        ValueError: if no model has that name.
    """
    variants = _variants()
    if name not in variants:
        raise ValueError(f"no model is called {name!r}.{_nearest(name, variants)}")
    cls, preset = variants[name]
    defaults = {
        f.name: f.default
        for f in dataclasses.fields(cls)
        if f.name not in ("parent", "name") and f.default is not dataclasses.MISSING
    }
    return {**defaults, **preset}


def has_field(name: str, field: str) -> bool:
    """Whether the model `name` has a field of that name, such as `num_classes`.

    Raises:
        ValueError: if no model has that name.
    """
    default_fields(name)  # an unknown name is an error
    return any(f.name == field for f in dataclasses.fields(_variants()[name][0]))


def list_models(pattern: str = "*", *, kind: str = "*") -> list[str]:
    """Names of all models that match the shell-style `pattern`, sorted.

    `kind` is the folder they lie in, such as "classifiers" or "detectors".
    """
    found = _variants()
    return sorted(
        name
        for name in fnmatch.filter(found, pattern)
        if fnmatch.fnmatch(_folder(found[name][0]), kind)
    )


def _folder(cls: type[nn.Module]) -> str:
    """The folder that a model's file lies in; "" for a class from outside any package."""
    return cls.__module__.rpartition(".")[0].rpartition(".")[2]


@functools.cache
def _variants() -> dict[str, tuple[type[nn.Module], dict[str, Any]]]:
    found: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {}
    origin: dict[str, str] = {}
    for module in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        if module.ispkg:
            continue
        for name, variant in getattr(importlib.import_module(module.name), "VARIANTS", {}).items():
            if name in found:
                raise ValueError(f"two files name a model {name!r}: {origin[name]}, {module.name}")
            found[name], origin[name] = variant, module.name
    return found


def _tuples(value: Any) -> Any:
    """Lists, which a config that was read from a file has, become tuples at any depth."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f" Did you mean {' or '.join(repr(n) for n in near)}?"
    return f" There are: {', '.join(sorted(known))}."


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
