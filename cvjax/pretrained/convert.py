"""State dicts of torchvision, timm and Keras to our variables and back, strictly.

A family file, `cvjax/pretrained/<file of the model>.py`, holds

* `SOURCES`: the libraries whose names it knows;
* `torch_name(path, leaf, model, source) -> str`: what they call the array `leaf` of our module
  at `path`, such as ("stage1_block1/conv1", "kernel"); `tensor_name` joins the usual ones;
* optionally `FIELDS`, what weights of theirs need of the model's fields although no tensor shows
  it, `layout(path, leaf, model, source) -> Layout | None`, where an array does not lie as
  `layouts.natural` says, `IGNORED`, regexes of their tensors that hold nothing learned, and
  `current_names(state_dict)`, which renames what older published files call otherwise.

Keras' names are in `cvjax/pretrained/keras/<file of the model>.py`, likewise; its arrays lie as
ours do.
"""

import importlib
import importlib.util
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from cvjax.models import create
from cvjax.pretrained.layouts import SAME, Layout, natural

Variables = dict[str, Any]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_COUNTER = "num_batches_tracked"
_SHOWN = 8


def tensor_name(module: str, leaf: str) -> str:
    """`module` with PyTorch's name for our `leaf`: "layer1.0.bn1", "mean" -> "...running_mean"."""
    return f"{module}.{_LEAVES.get(leaf, leaf)}"


def from_torch(
    model_name: str,
    state_dict: Mapping[str, np.ndarray],
    source: str = "torchvision",
    *,
    num_classes: int | None = 1000,
    **fields: Any,
) -> Variables:
    """The variables of `create(model_name, num_classes=num_classes, **fields)`, as NumPy arrays.

    `state_dict` maps `source`'s names to arrays in its layouts. Half precision is widened to
    float32, exactly. `num_classes=None` drops the head.

    Raises:
        ValueError: naming every missing, unexpected, misshapen or mistyped tensor; if a field of
            the model is not what the weights were trained with; or if nothing is known of that
            model in that source.
    """
    model = create(model_name, num_classes=num_classes, **fields)
    family = _family(model, model_name, source)
    for field, value in getattr(family, "FIELDS", {}).items():
        if getattr(model, field) != value:
            raise ValueError(
                f"{source}'s {model_name} is trained with {field}={value}, not "
                f"{getattr(model, field)}: give {field}={value} to create, from_torch and model."
            )
    state_dict = getattr(family, "current_names", dict)(state_dict)
    shapes = _shapes(model)
    names = {path: _name(family, path, model, model_name, source) for path in shapes}
    problems: dict[str, list[str]] = {
        kind: [] for kind in ("missing", "unexpected", "misshapen", "mistyped")
    }
    arrays, other_classes = {}, set()
    for path, name in names.items():
        if name not in state_dict:
            problems["missing"].append(f"{name}, which {'/'.join(path)} asks for")
            continue
        layout = _layout(family, path, shapes[path], model, source)
        given, shape = np.asarray(state_dict[name]), tuple(shapes[path].shape)
        wanted = _torch_shape(layout, shape)
        if given.shape != wanted:
            problems["misshapen"].append(f"{name} is {given.shape}, expected {wanted}")
            if path[1:] == ("head", "bias") and given.ndim == 1:
                other_classes.add(given.size)
        elif not (jnp.issubdtype(given.dtype, jnp.floating) and given.dtype.itemsize <= 4):
            problems["mistyped"].append(f"{name} is {given.dtype}, expected float32 or narrower")
        else:
            array = layout.to_ours(given.astype(np.float32, copy=False))
            arrays[path] = np.ascontiguousarray(array).reshape(shape)
    known = set(names.values())
    if num_classes is None:
        whole = create(model_name, num_classes=1000, **fields)
        known |= {_name(family, path, whole, model_name, source) for path in _shapes(whole)}
    ignored = [*getattr(family, "IGNORED", ()), rf"(.*\.)?{_COUNTER}"]
    problems["unexpected"] = [
        name
        for name in state_dict
        if name not in known and not any(re.fullmatch(p, name) for p in ignored)
    ]
    if any(problems.values()):
        raise ValueError(
            f"these tensors are not {source}'s {model_name} with num_classes={num_classes}:"
            + "".join(_listed(kind, found) for kind, found in problems.items())
            + (
                f"\n  They have {other_classes.pop()} classes; num_classes=None drops the head."
                if len(other_classes) == 1
                else ""
            )
        )
    return traverse_util.unflatten_dict(arrays)


def to_torch(
    model_name: str,
    variables: Mapping[str, Any],
    source: str = "torchvision",
    *,
    num_classes: int | None = 1000,
    **fields: Any,
) -> dict[str, np.ndarray]:
    """The state dict of `variables` in `source`'s names and layouts; undoes `from_torch`.

    The batch counters that PyTorch's normalisation layers carry are 0.

    Raises:
        ValueError: naming every array that is missing, unexpected or misshapen.
    """
    model = create(model_name, num_classes=num_classes, **fields)
    family = _family(model, model_name, source)
    shapes = _shapes(model)
    given = traverse_util.flatten_dict(dict(variables))
    problems = {
        "missing": ["/".join(path) for path in shapes if path not in given],
        "unexpected": ["/".join(path) for path in given if path not in shapes],
        "misshapen": [
            f"{'/'.join(path)} is {np.shape(given[path])}, expected {tuple(shapes[path].shape)}"
            for path in shapes
            if path in given and np.shape(given[path]) != tuple(shapes[path].shape)
        ],
    }
    if any(problems.values()):
        raise ValueError(
            f"these are no variables of {model_name} with num_classes={num_classes}:"
            + "".join(_listed(kind, found) for kind, found in problems.items())
        )
    state = {}
    for path, shape in shapes.items():
        name = _name(family, path, model, model_name, source)
        layout = _layout(family, path, shape, model, source)
        state[name] = np.ascontiguousarray(layout.to_torch(np.asarray(given[path])))
        if name.endswith(".running_mean"):
            state[name.removesuffix("running_mean") + _COUNTER] = np.zeros((), np.int64)
    return state


def likely_source(model_name: str, state_dict: Mapping[str, np.ndarray], **fields: Any) -> str:
    """The library whose names for `model_name` most of `state_dict`'s are.

    Raises:
        ValueError: if no library's names of that model are known.
    """
    model = create(model_name, num_classes=1000, **fields)
    known = sources(model)
    if not known:
        raise ValueError(f"no weights of other libraries are known for {model_name!r}")
    paths = _shapes(model)

    def hits(source: str) -> int:
        family = _family(model, model_name, source)
        try:
            return sum(
                _name(family, path, model, model_name, source) in state_dict for path in paths
            )
        except ValueError:
            return 0

    return max(known, key=hits)


def head_size(
    model_name: str, state_dict: Mapping[str, np.ndarray], source: str, **fields: Any
) -> int | None:
    """How many classes the head in `state_dict` has; None if it has no head.

    Raises:
        ValueError: if nothing is known of that model in that source.
    """
    model = create(model_name, num_classes=1000, **fields)
    family = _family(model, model_name, source)
    if hasattr(family, "head_size"):
        return family.head_size(state_dict, model)
    for path, shape in _shapes(model).items():
        name = _name(family, path, model, model_name, source)
        if path[1] == "head" and path[-1] == "kernel" and name in state_dict:
            layout = _layout(family, path, shape, model, source)
            given = np.asarray(state_dict[name])
            fits = given.ndim == len(_torch_shape(layout, tuple(shape.shape)))
            return layout.to_ours(given).shape[-1] if fits else 1000
    return None


def sources(model: nn.Module) -> list[str]:
    """The libraries whose weights are known for `model`."""
    file = type(model).__module__.rpartition(".")[2]
    found = []
    for module in (f"{__package__}.{file}", f"{__package__}.keras.{file}"):
        if importlib.util.find_spec(module) is not None:
            found += getattr(importlib.import_module(module), "SOURCES", ())
    return found


def _family(model: nn.Module, model_name: str, source: str) -> ModuleType:
    known = sources(model)
    if not known:
        raise ValueError(f"no weights of other libraries are known for {model_name!r}")
    if source not in known:
        raise ValueError(
            f"{source!r} has no weights for {model_name!r} that are known here; there are those "
            f"of: {', '.join(known)}"
        )
    file = type(model).__module__.rpartition(".")[2]
    folder = f"{__package__}.keras" if source == "keras" else __package__
    return importlib.import_module(f"{folder}.{file}")


def _shapes(model: nn.Module) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    size = getattr(model, "image_size", None) or 224
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return traverse_util.flatten_dict(dict(variables))


def _name(
    family: ModuleType, path: tuple[str, ...], model: nn.Module, model_name: str, source: str
) -> str:
    try:
        return family.torch_name("/".join(path[1:-1]), path[-1], model, source)
    except (KeyError, AttributeError, IndexError) as error:  # no such name, no match of a pattern
        raise ValueError(
            f"{source} has nothing like {'/'.join(path)} of {model_name!r} with these fields"
        ) from error


def _layout(
    family: ModuleType,
    path: tuple[str, ...],
    shape: jax.ShapeDtypeStruct,
    model: nn.Module,
    source: str,
) -> Layout:
    find = getattr(family, "layout", lambda *_: None)
    special = find("/".join(path[1:-1]), path[-1], model, source)
    return special or (SAME if source == "keras" else natural(path[-1], len(shape.shape)))


def _torch_shape(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    return layout.to_torch(np.broadcast_to(np.float32(0), shape)).shape


def _listed(kind: str, found: list[str]) -> str:
    more = f"\n  and {len(found) - _SHOWN} more {kind}" if len(found) > _SHOWN else ""
    return "".join(f"\n  {kind}: {line}" for line in found[:_SHOWN]) + more
