"""What lies in a workdir, read without the code under test."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def arrays_of(checkpoint: Path) -> dict[str, np.ndarray]:
    """{path in the state's tree: array} of one checkpoint folder, by Orbax alone."""
    reader = ocp.PyTreeCheckpointer()
    try:
        whole = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        tree = reader.metadata(checkpoint).item_metadata.tree
        how = jax.tree.map(lambda _: ocp.ArrayRestoreArgs(sharding=whole), tree)
        state = reader.restore(checkpoint, restore_args=how)
    finally:
        reader.close()
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def host_of(checkpoint: Path) -> dict[str, Any]:
    """What the host remembered, without the running time."""
    host = json.loads((checkpoint / "seal.json").read_text())["host"]
    return {name: value for name, value in host.items() if not name.endswith("_seconds")}


def checkpoints_in(workdir: Path) -> dict[int, Path]:
    """{step: folder} of the sealed checkpoints, ascending."""
    folder = workdir / "checkpoints"
    found = [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    sealed = (p for p in found if (p / "seal.json").is_file())
    return {int(p.name): p for p in sorted(sealed, key=lambda p: int(p.name))}


def last_checkpoint(workdir: Path) -> Path:
    """The folder of the newest one."""
    return list(checkpoints_in(workdir).values())[-1]


def lines_of(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the fields that tell the time. Strict: every line."""
    text = (workdir / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [
        {name: v for name, v in json.loads(line).items() if not _is_timing(name)}
        for line in text.splitlines()
    ]


def assert_close_arrays(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], *, rtol: float, atol: float
) -> None:
    """Both hold the same names, and nearly the same arrays under them."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=atol, err_msg=name)


def assert_same_run(workdir: Path, reference: Path) -> None:
    """Both ended in the same checkpoint, bit for bit, after writing the same lines."""
    assert lines_of(workdir) == lines_of(reference)
    here, there = last_checkpoint(workdir), last_checkpoint(reference)
    assert here.name == there.name
    assert host_of(here) == host_of(there)
    found, expected = arrays_of(here), arrays_of(there)
    assert found.keys() == expected.keys()
    different = [
        name
        for name, value in expected.items()
        if (value.dtype, value.tobytes()) != (found[name].dtype, found[name].tobytes())
    ]
    assert different == []


def _is_timing(name: str) -> bool:
    return name.endswith(("_seconds", "_per_second"))
