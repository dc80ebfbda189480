"""Which rule each parameter falls under, and what a frozen part of a model does while it trains.

Parameters are named by paths such as `stage1_block1/conv1/kernel`: the keys of the tree joined by
slashes. Rules are regular expressions that must match a whole path; the first that matches wins.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

# What a module is told, by argument or by field, so that it acts as in evaluation.
EVALUATION_SETTINGS: Mapping[str, bool] = {
    "use_running_average": True,
    "deterministic": True,
    "train": False,
    "update_stats": False,  # of flax.linen.SpectralNorm
}


def path_string(key_path: Sequence[Any]) -> str:
    """`stage1_block1/conv1/kernel` for a key path of `jax.tree_util`."""
    return jax.tree_util.keystr(tuple(key_path), simple=True, separator="/")


def parameter_paths(params: Any) -> list[str]:
    """Paths of the leaves of `params` in the order of `jax.tree.leaves`; None is no leaf."""
    return [path_string(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]


def first_matches(
    patterns: Sequence[str], paths: Sequence[str], *, field: str, advice: str, spare: str = ""
) -> tuple[list[int], list[str]]:
    """For each path the index of the first pattern that matches it whole (-1: none), and problems.

    A problem is a line of text: a pattern that is no regular expression, a path that no pattern
    matches (followed by `advice`), a pattern that is left without a path. `spare` is a last pattern
    that may be left over. `field` is the config field that the text names.
    """
    problems: list[str] = []
    compiled: list[re.Pattern[str] | None] = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except (re.error, TypeError) as error:
            compiled.append(None)
            problems.append(f"{field}: {pattern!r} is not a regular expression ({error}).")

    indices = []
    matched: set[int] = set()
    for path in paths:
        hits = [i for i, regex in enumerate(compiled) if regex and regex.fullmatch(path)]
        matched.update(hits)
        indices.append(hits[0] if hits else -1)
        if not hits:
            problems.append(
                f"{field}: no pattern matches parameter {path!r}. Patterns: {list(patterns)}.\n"
                f"  {advice}"
            )

    for i, pattern in enumerate(patterns):
        if compiled[i] is None or i in indices:
            continue
        if spare and pattern == spare and i == len(patterns) - 1:
            continue
        if i in matched:
            problems.append(
                f"{field}: pattern {pattern!r} never applies, because earlier patterns take all"
                f" that it matches. Patterns: {list(patterns)}.\n"
                "  The first match wins: move it up or remove it."
            )
        else:
            problems.append(
                f"{field}: pattern {pattern!r} matches no parameter."
                f" Parameters: {_abbreviated(paths)}.\n"
                "  Patterns must match a whole path: correct it or remove it."
            )
    return indices, problems


def matches_any(
    patterns: Sequence[str], paths: Sequence[str], *, field: str
) -> tuple[list[bool], list[str]]:
    """For each path whether some pattern matches it whole, and problems as text.

    A problem is a pattern that is no regular expression or that matches no path.
    """
    problems: list[str] = []
    hits = [False] * len(paths)
    for pattern in patterns:
        try:
            regex = re.compile(pattern)
        except (re.error, TypeError) as error:
            problems.append(f"{field}: {pattern!r} is not a regular expression ({error}).")
            continue
        matched = [bool(regex.fullmatch(path)) for path in paths]
        hits = [a or b for a, b in zip(hits, matched)]
        if not any(matched):
            problems.append(
                f"{field}: pattern {pattern!r} matches no parameter."
                f" Parameters: {_abbreviated(paths)}.\n"
                "  Patterns must match a whole path: correct it or remove it."
            )
    return hits, problems


def frozen_lookup(frozen: Mapping[str, bool]) -> Callable[[str], bool]:
    """`is_frozen(path)` for parameters and modules, from {parameter path: frozen}.

    A parameter is frozen as the mapping says. A module with parameters (its own or those of its
    children) is frozen when all of them are. A module without any (Dropout, or a normalisation
    that neither scales nor shifts) is frozen when the nearest module around it that has
    parameters is. So the dropout between a frozen trunk and a trained head stays on: the module
    around both is not frozen. "" is the whole model.
    """
    all_frozen: dict[str, bool] = {}
    for path, is_frozen in frozen.items():
        parts = path.split("/")
        for depth in range(len(parts) + 1):
            prefix = "/".join(parts[:depth])
            all_frozen[prefix] = all_frozen.get(prefix, True) and is_frozen

    def is_frozen(path: str) -> bool:
        while path and path not in all_frozen:
            path = path.rpartition("/")[0]
        return all_frozen.get(path, False)

    return is_frozen


def freeze_interceptor(is_frozen: Callable[[str], bool]) -> Callable[..., Any]:
    """Interceptor for `flax.linen.intercept_methods`: frozen modules act as in evaluation.

        with nn.intercept_methods(freeze_interceptor(optimizer.is_frozen)):
            outputs, mutated = model.apply(variables, image, train=True, mutable=["batch_stats"])

    Every method of a module whose path is frozen gets `use_running_average=True`,
    `deterministic=True` and `train=False`, wherever it takes an argument or has a field of that
    name and whatever its caller gave. So its statistics stay as they are and its dropout is off.
    `is_frozen` gets the module's path in the model that is applied ("" for the model itself).
    """

    def intercept(
        next_method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if context.method_name == "setup" or module.scope is None:
            return next_method(*args, **kwargs)
        if not is_frozen("/".join(module.path)):
            return next_method(*args, **kwargs)
        fields = {
            name: getattr(module, name)
            for name in EVALUATION_SETTINGS
            if name in module.__dataclass_fields__ and getattr(module, name) is not None
        }
        args, kwargs = _with_evaluation_arguments(context.orig_method, args, kwargs, fields)
        # Bound modules refuse assignment, and a clone would not be bound: hence object's own.
        try:
            for name in fields:
                object.__setattr__(module, name, EVALUATION_SETTINGS[name])
            return next_method(*args, **kwargs)
        finally:
            for name, value in fields.items():
                object.__setattr__(module, name, value)

    return intercept


def _with_evaluation_arguments(
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with those of EVALUATION_SETTINGS replaced that `method` takes.

    Flax's own layers refuse an argument beside a field of the same name, so an argument that the
    caller left out stays out where `fields` has it.
    """
    parameters = inspect.signature(method).parameters
    positional = [
        p.name
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    args, kwargs = list(args), dict(kwargs)
    for name, value in EVALUATION_SETTINGS.items():
        place = positional.index(name) if name in positional else len(args)
        given = args[place] if place < len(args) else kwargs.get(name)
        if name in kwargs or name in parameters:
            if name in fields and given is None:
                continue
            if place < len(args):
                args[place] = value
            else:
                kwargs[name] = value
    return tuple(args), kwargs


def _abbreviated(paths: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(repr(path) for path in paths[:limit])
    return f"[{shown}{', ...' if len(paths) > limit else ''}] ({len(paths)})"
