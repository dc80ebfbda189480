"""Pickles read as data: an interpreter that builds containers and NumPy arrays and runs no code.

A pickle is a program for a stack machine, and Python's own reader calls whatever the program
names. This one knows the instructions that containers need, and of callables only those in a
table that the caller gives, which stand in for the real ones; anything else is refused by name
before it is imported.
"""

import io
import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


class Refused(ValueError):
    """The pickle asks for something that no file of weights needs; nothing of it was run."""


@dataclass(frozen=True)
class Stand:
    """Stands for the callable or constant that a pickle knows as `name`."""

    name: str
    make: Callable[..., Any] | None = None


@dataclass
class PickledArray:
    """A NumPy array on its way: empty when made, filled by the instruction that follows."""

    value: np.ndarray | None = None

    def read(self) -> np.ndarray:
        """The array.

        Raises:
            ValueError: if the pickle never filled it.
        """
        if self.value is None:
            raise ValueError("an array in the pickle has no contents")
        return self.value


@dataclass
class _Dtype:
    code: str
    order: str = "="

    def numpy(self) -> np.dtype:
        if not re.fullmatch(r"[<>=|]?[biufc]\d{1,2}", self.code):
            raise Refused(f"an array of type {self.code!r} in the pickle; only numbers are read")
        return np.dtype(self.code).newbyteorder(self.order)


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_VALUES = {
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_KEYS = (str, int, float, bytes, type(None))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(
    stream: io.BytesIO,
    known: Mapping[str, Callable[..., Any] | None] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """What one pickle of `stream` describes; the stream then stands behind its end.

    `known` maps full names, "torch._utils._rebuild_tensor_v2", to what is called in their place,
    or to None for names that are only mentioned; they add to those that NumPy arrays and
    OrderedDict need. `persistent` answers references to what lies outside the pickle. NumPy
    arrays come as `PickledArray`, an OrderedDict as a dict.

    Raises:
        Refused: if the pickle asks for anything else.
        ValueError: if it is damaged or cut short.
    """
    try:
        return _run(stream, {**_NUMPY, **(known or {})}, persistent)
    except ValueError:
        raise
    except (
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"the pickle is damaged: {type(error).__name__}: {error}") from error


def _run(
    stream: io.BytesIO,
    known: Mapping[str, Callable[..., Any] | None],
    persistent: Callable[[Any], Any] | None,
) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = len(stack) - 1
        while stack[at] is not _MARK:  # IndexError below the bottom: the pickle is damaged
            at -= 1
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def find(module: Any, name: Any) -> Stand:
        full = f"{module}.{name}"
        if full not in known:
            raise Refused(
                f"the pickle asks for {full!r}, which is neither a container nor a dense array"
            )
        return Stand(full, known[full])

    for opcode, argument, _ in pickletools.genops(stream):
        kind = opcode.name
        if kind in _VALUES:
            stack.append(argument)
        elif kind in _CONSTANTS:
            stack.append(_CONSTANTS[kind])
        elif kind in _EMPTY:
            stack.append(_EMPTY[kind]())
        elif kind in ("PROTO", "FRAME"):
            pass
        elif kind in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif kind == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif kind in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif kind == "MARK":
            stack.append(_MARK)
        elif kind == "POP":
            stack.pop()
        elif kind == "POP_MARK":
            since_mark()
        elif kind == "DUP":
            stack.append(stack[-1])
        elif kind == "TUPLE":
            stack.append(tuple(since_mark()))
        elif kind in _TUPLES:
            count = _TUPLES[kind]
            stack[-count:] = [tuple(stack[-count:])]
        elif kind == "LIST":
            stack.append(since_mark())
        elif kind == "DICT":
            stack.append(_pairs(since_mark()))
        elif kind == "APPEND":
            item = stack.pop()
            _only(stack[-1], list).append(item)
        elif kind == "APPENDS":
            items = since_mark()
            _only(stack[-1], list).extend(items)
        elif kind == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _only(stack[-1], dict).update(_pairs([key, value]))
        elif kind == "SETITEMS":
            items = since_mark()
            _only(stack[-1], dict).update(_pairs(items))
        elif kind == "GLOBAL":
            module, _, name = argument.partition(" ")
            stack.append(find(module, name))
        elif kind == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(find(module, name))
        elif kind in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, Stand) or function.make is None:
                name = function.name if isinstance(function, Stand) else type(function).__name__
                raise Refused(f"the pickle calls {name!r}, which is no way to make weights")
            stack.append(function.make(*_only(arguments, tuple)))
        elif kind == "BUILD":
            state = stack.pop()
            _fill(stack[-1], state)
        elif kind in ("BINPERSID", "PERSID") and persistent is not None:
            stack.append(persistent(stack.pop() if kind == "BINPERSID" else argument))
        elif kind == "STOP":
            return stack.pop()
        else:  # INST, OBJ, NEWOBJ_EX, EXT1, ...: other ways to call something
            asked = f" {argument!r}" if argument is not None else ""
            raise Refused(f"the pickle uses the instruction {kind}{asked}, which no weights need")
    raise ValueError("the pickle ends in the middle")


def _only(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, got {type(value).__name__}")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    if not all(isinstance(key, _KEYS) for key in keys):
        raise Refused("the pickle has a dict whose keys are neither text nor numbers")
    return dict(zip(keys, items[1::2], strict=True))


def _fill(target: Any, state: Any) -> None:
    """The instruction that sets an object's state, for the three kinds that have one here."""
    if isinstance(target, PickledArray):
        _, shape, dtype, fortran, data = state
        target.value = _array(data, dtype, shape, "F" if fortran else "C")
    elif isinstance(target, _Dtype):
        target.order = state[1] if state[1] in ("<", ">") else "="
    elif not isinstance(target, dict):  # a dict's attributes, such as `_metadata`, hold no weights
        raise Refused(f"the pickle sets attributes of {type(target).__name__}")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    raw = data.encode("latin1") if isinstance(data, str) else data  # str: Python 2's bytes
    if not isinstance(raw, (bytes, bytearray)):
        raise Refused("an array in the pickle that holds objects; only numbers are read")
    if not (isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError(f"an array in the pickle has the shape {shape!r}")
    flat = np.frombuffer(raw, _only(dtype, _Dtype).numpy())
    native = flat.astype(np.dtype(flat.dtype.name), copy=False)
    return native.reshape(shape, order=order)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> PickledArray:
    if order == "K":  # lies in the order of `axes`
        return PickledArray(_array(data, dtype, shape, "C").transpose(axes))
    return PickledArray(_array(data, dtype, shape, order))


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    return _pairs([part for pair in items for part in pair])


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"text in the pickle encoded by {encoding!r}")
    return _only(text, str).encode("latin1")


_NUMPY: dict[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda: b"",  # protocol 2 has no other way to say this
    "numpy.ndarray": None,
    "numpy.dtype": lambda code, *_: _Dtype(_only(code, str)),
}
for _core in ("numpy.core", "numpy._core"):
    _NUMPY |= {
        f"{_core}.multiarray._reconstruct": lambda *_: PickledArray(),
        f"{_core}.multiarray.scalar": lambda t, x: PickledArray(_array(x, t, (), "C")),
        f"{_core}.numeric._frombuffer": _from_buffer,
    }
