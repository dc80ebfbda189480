"""Files of other libraries: every type, shape and stride, and nothing in them is ever executed.

The fixtures were written by torch, see tests/golden/state_dicts/make.py.
"""

import collections
import contextlib
import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cvjax.pretrained import load_state_dict
from cvjax.pretrained.safe_pickle import read_pickle

FIXTURES = Path(__file__).parents[1] / "golden" / "state_dicts"
NAMES = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128")
NAMES += ("int64", "int32", "int16", "int8", "uint8", "bool")
FORMATS = ("zip", "legacy")


def everything() -> dict[str, np.ndarray]:
    base = np.arange(24, dtype=np.float32)
    grid = base.reshape(2, 3, 4)
    kinds = {n: np.dtype(ml_dtypes.bfloat16 if n == "bfloat16" else n) for n in NAMES}
    state = {f"type.{n}": np.arange(-3, 3).astype(kind) for n, kind in kinds.items()}
    return state | {
        "shape.scalar": np.array(7),
        "shape.empty": np.zeros((0, 3), np.float32),
        "shape.one": np.full((1, 1, 1), 2.5, np.float32),
        "view.whole": grid,
        "view.transposed": grid.transpose(2, 0, 1),
        "view.rows": grid[1:, ::2],
        "view.tail": base[20:],
        "view.expanded": np.array([[5, 5, 5], [6, 6, 6]], np.float32),
        "view.channels_last": base.reshape(1, 2, 3, 4),
        "view.column": np.array([3, 7, 11, 15, 19, 23], np.float32),
        "parameter": np.array([1.5, -2], np.float32),
        "tied": np.array([1.5, -2], np.float32),
    }


def assert_same(found: dict, want: dict) -> None:
    assert list(found) == list(want)
    for name, value in want.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert found[name].flags.c_contiguous, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("form", FORMATS)
def test_every_type_shape_and_stride_that_torch_saves(form):
    assert_same(load_state_dict(FIXTURES / f"everything_{form}.pth"), everything())


def test_old_format_by_a_newer_protocol_of_pickle():
    found = load_state_dict(FIXTURES / "protocol4_legacy.pth")
    assert_same(found, {"w": np.arange(3, dtype=np.float32)})


@pytest.mark.parametrize("form", FORMATS)
def test_types_that_torch_saves_as_untyped_bytes(form):
    want = {
        "float8_e4m3fn": np.arange(4).astype(ml_dtypes.float8_e4m3fn),
        "uint16": np.arange(4, dtype=np.uint16),
    }
    assert_same(load_state_dict(FIXTURES / f"new_types_{form}.pth"), want)


@pytest.mark.parametrize("form", FORMATS)
def test_state_dict_within_a_checkpoint_loses_dataparallels_prefix(form):
    shapes = {"weight": (2, 1, 3, 3), "bias": (2,)}
    want = {f"0.{leaf}": shape for leaf, shape in shapes.items()}
    want |= {f"1.{leaf}": (2,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    want = {n: np.arange(np.prod(s), dtype=np.float32).reshape(s) for n, s in want.items()}
    want["1.num_batches_tracked"] = np.array(0)
    assert_same(load_state_dict(FIXTURES / f"checkpoint_{form}.pth"), want)


def test_key_names_another_part_of_a_checkpoint():
    path = FIXTURES / "checkpoint_zip.pth"
    with pytest.raises(
        ValueError, match=r"checkpoint_zip.pth: there is no 'ema' in it.*state_dict"
    ):
        load_state_dict(path, key="ema")
    with pytest.raises(ValueError, match=r"param_groups.*Say which part"):
        load_state_dict(path, key="optimizer")


def test_checkpoint_without_a_known_part_says_what_there_is(tmp_path):
    save_pickle(tmp_path / "x.pkl", {"epoch": 3, "net": {"w": np.ones(2)}})
    with pytest.raises(ValueError, match=r"no arrays are epoch \(int\).*key=...; there is: epoch"):
        load_state_dict(tmp_path / "x.pkl")
    assert_same(load_state_dict(tmp_path / "x.pkl", key="net"), {"w": np.ones(2)})


def test_wrappers_go_in_order_and_within_each_other(tmp_path):
    inner = {"module._orig_mod.w": np.ones(2)}
    save_pickle(tmp_path / "x.pkl", {"model": {"b": np.ones(1)}, "state_dict": {"model": inner}})
    assert_same(load_state_dict(tmp_path / "x.pkl"), {"w": np.ones(2)})


def test_prefix_that_only_some_names_have_stays(tmp_path):
    state = {"module.w": np.ones(2), "b": np.ones(1)}
    np.savez(tmp_path / "x.npz", **state)
    assert_same(load_state_dict(tmp_path / "x.npz"), state)


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path, compressed):
    state = {n: x for n, x in everything().items() if x.dtype != ml_dtypes.bfloat16}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "x.npz", **state)
    assert_same(load_state_dict(tmp_path / "x.npz"), state)


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.array([{}], object))
    with pytest.raises(ValueError, match=r"x.npz: Object arrays"):
        load_state_dict(tmp_path / "x.npz")


def test_safetensors_keep_every_type(tmp_path):
    state = {n: np.ascontiguousarray(x) for n, x in everything().items() if "complex" not in n}
    safetensors.numpy.save_file(state, tmp_path / "x.safetensors")
    found = load_state_dict(tmp_path / "x.safetensors")
    assert_same({n: found[n] for n in state}, state)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickled_arrays_of_any_layout(tmp_path, protocol):
    state = {n: x for n, x in everything().items() if x.dtype != ml_dtypes.bfloat16}
    state["fortran"] = np.asfortranarray(state["view.whole"])
    state["big_endian"] = np.arange(3, dtype=">f4")
    nested = collections.OrderedDict(
        layer=[state["view.rows"], state["type.int8"]], n=np.float32(3)
    )
    save_pickle(tmp_path / "x.pkl", {**state, "nested": nested}, protocol)
    state["big_endian"] = np.arange(3, dtype="f4")
    state |= {"nested.layer.0": state["view.rows"], "nested.layer.1": state["type.int8"]}
    state["nested.n"] = np.array(3, np.float32)
    found = load_state_dict(tmp_path / "x.pkl")
    assert found["big_endian"].dtype.isnative
    found = {name: np.ascontiguousarray(x).reshape(x.shape) for name, x in found.items()}
    assert_same(found, state)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


EVIL = {
    "system": (os.system, "touch TARGET"),
    "exec": (exec, "open('TARGET', 'w')"),
    "getattr": (getattr, "text", "upper"),
    "load": (np.load, "TARGET", None, True),
    "loads": (pickle.loads, b"cos\nsystem\n(S'touch TARGET'\ntR."),
    "open": (open, "TARGET", "w"),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("form", [*FORMATS, "pkl"])
def test_a_malicious_pickle_is_refused_by_the_name_that_it_asks_for(
    tmp_path, monkeypatch, name, form
):
    monkeypatch.chdir(tmp_path)
    program = pickle.dumps({"w": Calls(*EVIL[name])}, 2)
    path = tmp_path / "evil.pth"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", program)
    elif form == "legacy":
        start = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(x, 2) for x in start) + program)
    else:
        path.write_bytes(program)
    with pytest.raises(ValueError, match=rf"evil.pth: the pickle asks for '\w+\.{name}'.*Refused"):
        load_state_dict(path)
    assert not (tmp_path / "TARGET").exists()
    pickle.loads(pickle.dumps(Calls(open, "TARGET", "w"))).close()  # Python's own reader does it
    assert (tmp_path / "TARGET").exists()


@pytest.mark.parametrize(
    ("program", "asked"),
    [
        (b"(S'touch TARGET'\nios\nsystem\n.", "INST 'os system'"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "sets attributes of Stand"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls 'numpy.ndarray'"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "calls 'numpy.ndarray'"),
        (b"\x80\x02U\x01x)R.", "calls 'str'"),
        (b"\x80\x02]}b.", "sets attributes of list"),
        (b"\x80\x02Q.", "BINPERSID"),
        (b"\x80\x02ccollections\nOrderedDict\nX\x08\x00\x00\x00__init__\x86R.", "damaged"),
        (b"\x80\x02}NNs}NNs)U\x01xs.", "keys are neither"),
    ],
)
def test_ways_around_a_global_are_refused_too(program, asked):
    with pytest.raises(ValueError, match=asked):
        read_pickle(io.BytesIO(program))


def test_object_arrays_in_pickles_are_refused(tmp_path):
    save_pickle(tmp_path / "x.pkl", {"w": np.array([{}, None], object)})
    with pytest.raises(ValueError, match=r"x.pkl: an array .* only numbers are read"):
        load_state_dict(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("whole_module.pth", r"torch.nn.modules.container.Sequential"),
        ("torchscript.pt", "TorchScript program"),
        ("sparse.pth", "_rebuild_sparse_tensor"),
        ("quantized.pth", "_rebuild_qtensor"),
    ],
)
def test_what_is_no_state_dict_is_refused_by_name(name, asked):
    with pytest.raises(ValueError, match=rf"{name}: .*{asked}.*Refused; nothing"):
        load_state_dict(FIXTURES / name)


def test_a_tensor_may_not_reach_beyond_its_storage(tmp_path):
    data = (FIXTURES / "everything_legacy.pth").read_bytes()
    # view.tail is 4 elements from the 20th: K is a number, \x85 ends the shape
    spoilt = data.replace(b"K\x14K\x04\x85", b"K\x15K\x04\x85")
    assert spoilt != data
    (tmp_path / "x.pth").write_bytes(spoilt)
    with pytest.raises(ValueError, match="beyond its storage of 24"):
        load_state_dict(tmp_path / "x.pth")


def all_files(tmp_path: Path) -> list[Path]:
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2)}
    np.savez(tmp_path / "x.npz", **state)
    safetensors.numpy.save_file(state, tmp_path / "x.safetensors")
    save_pickle(tmp_path / "x.pkl", state)
    return [*sorted(tmp_path.glob("x.*")), *sorted(FIXTURES.glob("everything_*.pth"))]


def test_a_file_cut_short_anywhere_is_an_error_that_names_it(tmp_path):
    for path in all_files(tmp_path):
        data = path.read_bytes()
        cut = tmp_path / "cut.bin"
        for length in sorted({*range(0, len(data), 61), *range(min(40, len(data))), len(data) - 1}):
            cut.write_bytes(data[:length])
            with pytest.raises(ValueError, match=r"cut\.bin"):
                load_state_dict(cut)


def test_a_flipped_byte_gives_arrays_or_a_value_error(tmp_path):
    rng = random.Random(0)
    for path in all_files(tmp_path):
        data = path.read_bytes()
        spoilt = tmp_path / "spoilt.bin"
        for _ in range(60):
            at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
            spoilt.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            with contextlib.suppress(ValueError):
                assert all(isinstance(x, np.ndarray) for x in load_state_dict(spoilt).values())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>", "none of safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x80\x02N.", "no state dict"),
        (b"\x80\x02}.", "holds no arrays"),
        (b"\x80\x02]q\x00h\x00a.", "nested in itself"),
    ],
)
def test_what_is_no_file_of_weights_says_what_it_is(tmp_path, content, says):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x.pth: .*{says}"):
        load_state_dict(tmp_path / "x.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        load_state_dict(tmp_path / "nothing.pth")


def save_pickle(path: Path, content, protocol: int = 4) -> None:
    path.write_bytes(pickle.dumps(content, protocol))
