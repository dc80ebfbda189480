"""Files of `torch.save` without torch: the zip format of 1.6 and later, and the pickles before it.

Both hold a pickle in which tensors are views (offset, shape, strides) of numbered storages, and
the storages as plain bytes beside it: https://github.com/pytorch/pytorch, torch/serialization.py.
Only the storages of tensors that are asked for are read.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from cvjax.pretrained.safe_pickle import Refused, read_pickle

# The first pickle of the old format is this number.
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
ZIP_START = b"PK\x03\x04"

_FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
DTYPES = {
    name: np.dtype(name)
    for name in (
        *("float64", "float32", "float16", "complex64", "complex128", "bool"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    )
} | {name: np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", *_FLOAT8)}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}


@dataclass(frozen=True)
class _Storage:
    """Bytes somewhere in the file: `load` gives them."""

    key: str
    dtype: np.dtype
    count: int
    load: Callable[["_Storage"], bytes] = field(repr=False)

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class TorchTensor:
    """A view of a storage, not read yet."""

    storage: _Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The tensor as a contiguous array.

        Raises:
            ValueError: if it reaches beyond its storage.
        """
        flat = np.frombuffer(self.storage.load(self.storage), self.dtype)
        if 0 not in self.shape:
            last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
            if last >= len(flat):
                raise ValueError(
                    f"a tensor of shape {self.shape} reaches beyond its storage of {len(flat)}"
                )
        strides = tuple(s * self.dtype.itemsize for s in self.strides)
        start = flat[min(self.offset, len(flat)) :]
        view = np.lib.stride_tricks.as_strided(start, self.shape, strides, writeable=False)
        return np.ascontiguousarray(view).reshape(self.shape)


def read_zip(path: Path) -> Any:
    """What lies in the zip file `path`, tensors as `TorchTensor`, the rest as Python has it.

    Raises:
        Refused: if it asks for more than tensors.
        ValueError: if it is damaged or no file of `torch.save`.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (pickle,) = (name for name in names if name.partition("/")[2] == "data.pkl")
        root = pickle.removesuffix("data.pkl")
        if f"{root}constants.pkl" in names:
            raise Refused(
                "a TorchScript program, not a state dict; in torch: "
                "torch.save(torch.jit.load(file).state_dict(), ...)"
            )
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("written by a big-endian machine, which is not supported")

        def load(storage: _Storage) -> bytes:
            name = f"{root}data/{storage.key}"
            with zipfile.ZipFile(path) as again:
                if name not in names or again.getinfo(name).file_size != storage.size:
                    raise ValueError(f"storage {storage.key} is missing or has another length")
                return again.read(name)

        return _read(io.BytesIO(archive.read(pickle)), _once(load))


def read_legacy(path: Path) -> Any:
    """As `read_zip`, of the format before torch 1.6: five pickles, then the storages."""
    data = path.read_bytes()
    stream = io.BytesIO(data)
    magic, version, system = (read_pickle(stream) for _ in range(3))
    if magic != MAGIC_NUMBER or version != 1001:
        raise ValueError(f"protocol {version!r} of torch.save, which is not known")
    if not system["little_endian"]:
        raise ValueError("written by a big-endian machine, which is not supported")
    storages: dict[str, _Storage] = {}
    where: dict[str, int] = {}

    def load(storage: _Storage) -> bytes:
        start = where[storage.key]
        return data[start : start + storage.size]

    content = _read(stream, load, storages)
    keys = read_pickle(stream)
    if sorted(keys) != sorted(storages):
        raise ValueError("the list of storages is not that of the tensors")
    for key in keys:
        position = stream.tell()
        count = int.from_bytes(data[position : position + 8], "little")
        where[key] = position + 8
        end = position + 8 + storages[key].size
        if end > len(data):
            raise ValueError(f"cut short: it has {len(data):,} bytes and needs at least {end:,}")
        if count != storages[key].count:
            raise ValueError(f"storage {key} has {count} elements, not {storages[key].count}")
        stream.seek(end)
    return content


def _once(load: Callable[[_Storage], bytes]) -> Callable[[_Storage], bytes]:
    """`load` that reads a storage shared by several tensors once."""
    found: dict[str, bytes] = {}

    def cached(storage: _Storage) -> bytes:
        if storage.key not in found:
            found[storage.key] = load(storage)
        return found[storage.key]

    return cached


def _read(
    stream: io.BytesIO,
    load: Callable[[_Storage], bytes],
    storages: dict[str, _Storage] | None = None,
) -> Any:
    storages = {} if storages is None else storages

    def persistent(reference: Any) -> _Storage:
        kind, storage_type, key, _, count, *view = reference
        if kind != "storage":
            raise Refused(f"the pickle holds a whole {kind}; save its state_dict() instead")
        if any(view):
            raise ValueError(f"storage {key} is a view of another; save it again with torch 1.6")
        name = storage_type.name.rpartition(".")[2]
        storage = _Storage(str(key), DTYPES[_STORAGES[name]], _natural(count), load)
        return storages.setdefault(storage.key, storage)

    return read_pickle(stream, _KNOWN, persistent)


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"a tensor in the pickle has {value!r} for a size")
    return value


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any, dtype: np.dtype | None = None
) -> TorchTensor:
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("a tensor in the pickle is malformed")
    metadata = rest[2] if len(rest) > 2 else None
    if metadata:
        raise ValueError(f"a tensor is a view marked {metadata}; save its .clone() instead")
    return TorchTensor(
        storage,
        dtype or storage.dtype,
        _natural(offset),
        tuple(_natural(n) for n in shape),
        tuple(_natural(n) for n in strides),
    )


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> TorchTensor:  # fmt: skip
    kind = DTYPES[dtype.name.removeprefix("torch.")]
    return _tensor(storage, offset, shape, strides, grad, hooks, metadata, dtype=kind)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_KNOWN: dict[str, Callable[..., Any] | None] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda *_: None,
    "torch.storage.UntypedStorage": None,
    **{f"{place}.{name}": None for place in ("torch", "torch.cuda") for name in _STORAGES},
    **{f"torch.{name}": None for name in DTYPES},
}
