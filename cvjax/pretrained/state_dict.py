"""Files of weights as {name: NumPy array}, whichever library wrote them, none of them needed.

What a file is, its first bytes say, not its name: safetensors, npz, `torch.save`'s zip and its
older pickle, plain pickles of NumPy arrays, and Keras' legacy h5 (with the extra `keras`).
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from cvjax.pretrained import keras_file, torch_file
from cvjax.pretrained.safe_pickle import PickledArray, Refused, read_pickle

# Where training scripts put the state dict within what they save, the first that is there.
WRAPPERS = ("state_dict", "model", "model_state_dict")
# What wrappers of whole networks put before each name: DataParallel and torch.compile.
PREFIXES = ("module.", "_orig_mod.")
_SAFETENSORS = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}
_SHOWN = 10
_DEPTH = 8


def load_state_dict(path: str | Path, *, key: str | None = None) -> dict[str, np.ndarray]:
    """The arrays in the file at `path` by name, in the types that they have there.

    Reading executes nothing of the file. Where a checkpoint holds more than the state dict,
    `key` says which part is meant; without it, "state_dict", "model" or "model_state_dict", the
    first that is there, else the whole. Containers within are flattened: their names and the
    indices of lists are joined by dots. `module.`, which DataParallel puts before every name, and
    torch.compile's `_orig_mod.` are taken off.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, cut short, of no known kind, holds something that is
            no array, or asks for anything to be executed; it names the file and what is wrong.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of weights.")
    try:
        return _without_prefixes(_flatten(_part(_reader(path)(path), key)))
    except Refused as error:
        raise ValueError(f"{path}: {error}. Refused; nothing of the file was run.") from error
    except (zipfile.BadZipFile, zlib.error, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error
    except (KeyError, TypeError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _reader(path: Path) -> Callable[[Path], Any]:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return keras_file.read
    if start.startswith(torch_file.ZIP_START):
        with zipfile.ZipFile(path) as archive:
            inside = [name.partition("/")[2] for name in archive.namelist()]
            if "data.pkl" in inside:
                return torch_file.read_zip
            if all(name.endswith(".npy") for name in archive.namelist()):
                return _read_npz
        raise ValueError("a zip file, but neither torch.save's nor NumPy's")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return _read_safetensors
    if start[:1] == b"\x80":
        return _read_pickle
    if b"ustar" in start or start.startswith(b"version https://git-lfs"):
        kind = "a tar file" if b"ustar" in start else "a Git LFS pointer, not the file itself"
        raise ValueError(f"{kind}; weights come as safetensors, npz, pth, pt, pkl or h5")
    if not start:
        raise ValueError("the file is empty")
    raise ValueError(
        f"begins with {start[:8]!r}, which is none of safetensors, npz, pth, pt, pkl or h5, "
        "or it is damaged"
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    found = {}
    for name, entry in safetensors.deserialize(path.read_bytes()):
        if entry["dtype"] not in _SAFETENSORS:
            raise ValueError(f"{name} is of type {entry['dtype']}, which is not known")
        dtype = torch_file.DTYPES[_SAFETENSORS[entry["dtype"]]]
        found[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return found


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_pickle(path: Path) -> Any:
    content = read_pickle(io.BytesIO(path.read_bytes()))
    if type(content) is int and content == torch_file.MAGIC_NUMBER:
        return torch_file.read_legacy(path)
    return content


def _part(content: Any, key: str | None) -> Any:
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            there = list(content) if isinstance(content, Mapping) else type(content).__name__
            raise ValueError(f"there is no {key!r} in it; there is: {_listed(there)}")
        return content[key]
    while isinstance(content, Mapping):
        inner = next((w for w in WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    return content


def _flatten(content: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    others: list[str] = []
    seen: set[int] = set()

    def walk(name: str, value: Any, depth: int) -> None:
        if isinstance(value, (Mapping, list, tuple)):
            if id(value) in seen or depth > _DEPTH:
                raise ValueError(f"{name!r} is nested in itself or too deeply")
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for inner, item in items:
                walk(f"{name}.{inner}" if name else str(inner), item, depth + 1)
        elif isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, (PickledArray, torch_file.TorchTensor)):
            found[name] = value.read()
        else:
            others.append(f"{name or 'the whole'} ({type(value).__name__})")

    walk("", content, 0)
    if others or not found:
        there = sorted({str(k) for k in content}) if isinstance(content, Mapping) else "no mapping"
        raise ValueError(
            "no state dict: "
            + (f"no arrays are {_listed(others)}. " if others else "it holds no arrays. ")
            + f"Say which part of it is meant by key=...; there is: {_listed(there)}"
        )
    return found


def _without_prefixes(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for prefix in (*PREFIXES, *PREFIXES):  # either may be around the other
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _listed(names: Any) -> str:
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
