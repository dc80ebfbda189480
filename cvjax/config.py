"""Configs: from `file.py:variant` to complete, checked, plain data.

A config file defines `get_config(arg: str = "") -> ConfigDict` with the sections of SECTIONS. Here
its gaps are filled with the defaults of the options' dataclasses, so that every field can be
overridden on the command line and `config.json` records the whole truth.
"""

import dataclasses
import difflib
import importlib.util
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any

from beartype import BeartypeConf
from beartype.door import is_bearable
from ml_collections import ConfigDict, config_dict

SECTIONS = ("seed", "model", "task", "data", "optim", "ema", "evals", "train", "stages")
_TYPES = BeartypeConf(is_pep484_tower=True)  # an int where a float is expected is fine


class ConfigError(ValueError):
    """A config that can't be run; the message names every field that is wrong."""


def load(spec: str) -> ConfigDict:
    """The ConfigDict of `path/to/file.py` or `path/to/file.py:argument`.

    Raises:
        ConfigError: if there is no such file, or it defines no `get_config`.
    """
    path, _, argument = spec.partition(":")
    if not Path(path).is_file():
        near = difflib.get_close_matches(path, map(str, Path("configs").rglob("*.py")), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"--config: there is no file {path!r}.{hint}")
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"--config: {path} defines no function get_config(arg).")
    return module.get_config(argument)


def parse_arg(arg: str, **defaults: Any) -> SimpleNamespace:
    """What stands behind the colon of `--config file.py:depth=20,smoke`, typed as the defaults.

    A name alone means True. Lower-case, comma-separated; unknown names are an error.

    Raises:
        ConfigError: naming the part that is wrong and the names that exist.
    """
    values = dict(defaults)
    for part in filter(None, arg.split(",")):
        name, has_value, text = part.partition("=")
        if name not in defaults:
            raise ConfigError(
                f"--config: unknown option {name!r} behind the colon.{nearest(name, defaults)}"
            )
        kind = type(defaults[name])
        try:
            if kind is bool:
                values[name] = {"": not has_value, "true": True, "false": False}[text.lower()]
            else:
                values[name] = kind(text)
        except (ValueError, KeyError):
            raise ConfigError(
                f"--config: {name}={text!r} is not of type {kind.__name__}."
            ) from None
    return SimpleNamespace(**values)


def plain(value: Any) -> Any:
    """ConfigDicts as dicts, lists as tuples, all the way down."""
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return value


def fill_defaults(section: ConfigDict, options: type, *, skip: Iterable[str] = ()) -> None:
    """Gives `section` the default of every field of the dataclass `options` that it lacks.

    None becomes a placeholder that knows its type, or the command line could not override it.
    """
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        if field.name in skip:
            continue
        value = section.get(field.name, field.default)
        if value is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if value is None:
            section[field.name] = typed_none(hints[field.name])
        elif field.name not in section and value is not dataclasses.MISSING:
            section[field.name] = value


def make_options(options: type, values: Mapping[str, Any], section: str, **given: Any) -> Any:
    """An instance of the dataclass `options` from a section of the config.

    `given` are fields that do not come from the config.

    Raises:
        ConfigError: naming unknown, missing and mistyped fields, all at once, or what the
            dataclass itself finds wrong.
    """
    values = plain(values)
    hints = typing.get_type_hints(options)
    known = {f.name: f for f in dataclasses.fields(options) if f.name not in given}
    problems = []
    for name, value in values.items():
        if name not in known:
            problems.append(f"{section}.{name}: there is no such field.{nearest(name, known)}")
        elif not is_bearable(value, hints[name], conf=_TYPES):
            kind = _type_name(hints[name])
            problems.append(f"{section}.{name}={value!r} is not of type {kind}.")
    for name, field in known.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            problems.append(f"{section}.{name} is missing ({_type_name(hints[name])}).")
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        return options(**values, **given)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_sections(config: Mapping[str, Any]) -> None:
    """Raises ConfigError unless the config has the sections of SECTIONS and no others."""
    problems = [
        f"{name}: there is no such section.{nearest(name, SECTIONS)}"
        for name in config
        if name not in SECTIONS
    ]
    problems += [
        f"{name}: the section is missing."
        for name in ("model", "task", "data", "optim", "train")
        if name not in config
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def stage_configs(config: ConfigDict) -> dict[str, ConfigDict]:
    """The config of each stage by its name, in order; {"": config} where there are no stages.

    The section `stages` holds {name: {section: {field: value}}}: what a stage changes of the
    config. Names are stage1_head and the like, and their numbers the order, because a ConfigDict
    keeps none. A field is replaced whole; another optimizer's `name` begins with empty `options`,
    another model's or task's with no field of the one before.
    From the second stage on, `train.init_from` is empty unless the stage sets it: a stage starts
    from the state that the one before left.

    Raises:
        ConfigError: naming every stage or section that can't be.
    """
    stages = config.get("stages") or {}
    if not stages:
        return {"": config}
    numbers = {name: re.fullmatch(r"stage([1-9]\d*)_[a-z0-9_]+", name) for name in stages}
    problems = [
        f"stages.{name}: a stage is called stage1_head, stage2_finetune and so on."
        for name, match in numbers.items()
        if not match
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    order = sorted(stages, key=lambda name: int(numbers[name][1]))
    if [int(numbers[name][1]) for name in order] != list(range(1, len(order) + 1)):
        raise ConfigError(f"stages: the numbers of {order} are not 1, 2, 3 ...")
    found = {}
    for number, name in enumerate(order):
        changes = stages[name]
        stage = ConfigDict(config.to_dict())
        del stage["stages"]
        if number:
            with stage.train.ignore_type():
                stage.train.update(init_from="", init_rules=())
        for section, fields in changes.items():
            if section not in SECTIONS or section in ("stages", "seed"):
                known = [each for each in SECTIONS if each not in ("stages", "seed")]
                near = nearest(section, known)
                problems.append(f"stages.{name}.{section}: there is no such section.{near}")
                continue
            fields = fields.to_dict() if isinstance(fields, ConfigDict) else dict(fields)
            if section == "optim" and "name" in fields:
                fields.setdefault("options", {})
            if section in ("model", "task") and fields.get("name", "") not in (
                "",
                stage[section].name,
            ):
                stage[section] = ConfigDict()
            for field, value in fields.items():
                if field in stage[section]:  # else a mapping would be merged with the old one
                    del stage[section][field]
                stage[section][field] = value
        found[name] = stage
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def take_config_flag(argv: list[str]) -> tuple[str, list[str]]:
    """The value of `--config` ("" without one), and the command line without it."""
    spec, rest, arguments = "", [], iter(argv)
    for argument in arguments:
        name, has_value, value = argument.partition("=")
        if name in ("--config", "-config"):
            spec = value if has_value else next(arguments, "")
        else:
            rest.append(argument)
    return spec, rest


def check_overrides(config: ConfigDict, argv: Iterable[str]) -> None:
    """Raises ConfigError unless every `--config.section.field=value` names a field that exists."""
    problems = []
    for argument in argv:
        flag = argument.partition("=")[0].lstrip("-")
        if not flag.startswith("config."):
            continue
        node, parts = config, flag.split(".")[1:]
        for depth, part in enumerate(parts):
            here = ".".join(parts[: depth + 1])
            if not isinstance(node, ConfigDict):
                problems.append(f"--{flag}: {'.'.join(parts[:depth])} has no fields.")
                break
            if part not in node:
                problems.append(f"--{flag}: there is no field {here!r}.{nearest(part, node)}")
                break
            node = node[part]
    if problems:
        raise ConfigError("\n".join(problems))


def nearest(name: str, known: Iterable[str]) -> str:
    """ " Did you mean 'lr'?", or the list of what exists."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."


def typed_none(hint: Any) -> config_dict.FieldReference:
    """A placeholder for None that remembers which type an override must have."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not NoneType]
    single = len(kinds) == 1 and kinds[0] in (bool, int, float, str)
    return config_dict.placeholder(kinds[0] if single else object)


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
