"""Writes the fixtures here: `python tests/golden/state_dicts/make.py`, with torch 2 installed.

Only this script needs torch; tests/pretrained/test_state_dict.py computes by NumPy what the files
have to hold.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
NAMES = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128")
NAMES += ("int64", "int32", "int16", "int8", "uint8", "bool")


def everything() -> OrderedDict:
    """Types, shapes and strides: test_state_dict.py::everything is the same in NumPy."""
    base = torch.arange(24, dtype=torch.float32)
    grid = base.reshape(2, 3, 4)
    state = OrderedDict((f"type.{n}", torch.arange(-3, 3).to(getattr(torch, n))) for n in NAMES)
    state["shape.scalar"] = torch.tensor(7, dtype=torch.int64)
    state["shape.empty"] = torch.zeros(0, 3)
    state["shape.one"] = torch.full((1, 1, 1), 2.5)
    state["view.whole"] = grid
    state["view.transposed"] = grid.permute(2, 0, 1)
    state["view.rows"] = grid[1:, ::2]
    state["view.tail"] = base[20:]
    state["view.expanded"] = base[5:7, None].expand(2, 3)
    state["view.channels_last"] = base.reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    state["view.column"] = base.reshape(6, 4)[:, 3]
    state["parameter"] = nn.Parameter(torch.tensor([1.5, -2.0]))
    state["tied"] = state["parameter"]
    return state


def save(name: str, content: object, *, legacy: bool = False) -> None:
    torch.save(content, HERE / name, _use_new_zipfile_serialization=not legacy)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.manual_seed(0)
    save("everything_zip.pth", everything())
    save("everything_legacy.pth", everything(), legacy=True)
    torch.save(
        {"w": torch.arange(3.0)},
        HERE / "protocol4_legacy.pth",
        pickle_protocol=4,
        _use_new_zipfile_serialization=False,
    )
    small = {n: torch.arange(4).to(getattr(torch, n)) for n in ("float8_e4m3fn", "uint16")}
    save("new_types_zip.pth", small)
    save("new_types_legacy.pth", small, legacy=True)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(torch.arange(value.numel()).reshape(value.shape))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(torch.arange(value.numel()).reshape(value.shape))
    checkpoint = {
        "epoch": 3,
        "arch": "tiny",
        "best_acc1": torch.tensor(0.5),
        "state_dict": nn.DataParallel(net).state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    for legacy in (False, True):
        save(f"checkpoint_{'legacy' if legacy else 'zip'}.pth", checkpoint, legacy=legacy)
    save("whole_module.pth", net)
    torch.jit.script(nn.Linear(1, 1)).save(HERE / "torchscript.pt")
    save("sparse.pth", {"x": torch.eye(2).to_sparse()})
    save("quantized.pth", {"x": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})
    assert np.array_equal(torch.load(HERE / "everything_zip.pth")["view.tail"], range(20, 24))


if __name__ == "__main__":
    main()
