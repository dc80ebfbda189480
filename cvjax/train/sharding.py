"""One program from a laptop to a pod: the mesh, and how batches and state lie on it.

Nothing here calls a collective: arrays carry a `NamedSharding`, and `jit` derives what to send.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

SHARDINGS = ("replicated", "fsdp")
# A leaf smaller than this is cheaper to hold everywhere than to gather at every use.
FSDP_MIN_SIZE = 2**10


def join_processes(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes of one run; call it before anything else asks JAX for devices.

    On TPU pods, SLURM and Open MPI all three are found out. See docs/scale.md.
    """
    jax.distributed.initialize(coordinator, num_processes, process_id)


def make_mesh(*, model_parallel: int = 1, devices: list[jax.Device] | None = None) -> Mesh:
    """Mesh with axes ("data", "model") over all devices of all processes.

    Raises:
        ValueError: if `model_parallel` does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if model_parallel < 1 or len(devices) % model_parallel:
        raise ValueError(
            f"train.model_parallel is {model_parallel}, which does not divide the "
            f"{len(devices)} devices. Use a divisor of {len(devices)}."
        )
    shape = (len(devices) // model_parallel, model_parallel)
    return Mesh(np.asarray(devices).reshape(shape), ("data", "model"))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """First axis split over "data"; the other axes whole."""
    return NamedSharding(mesh, P("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, P())


def check_batch_size(batch_size: int, mesh: Mesh, *, accumulate: int = 1) -> None:
    """Raises ValueError unless every device gets as many examples of each micro-batch."""
    data = mesh.shape["data"]
    if batch_size < 1 or batch_size % (data * accumulate):
        unit = data * accumulate
        lower = max(batch_size // unit * unit, unit)
        raise ValueError(
            f"data.batch_size is {batch_size}, which {data} device(s) on the data axis times "
            f"optim.accumulate={accumulate} do not divide. Use a multiple of {unit}, such as "
            f"{lower} or {lower + unit}."
        )


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """int64, the rows of a global batch that this process's devices hold, ascending.

    Processes that share a slice of the data axis (model parallelism) load the same rows.
    """
    index_map = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = {row for (index,) in index_map.values() for row in range(*index.indices(batch_size))}
    return np.asarray(sorted(rows), np.int64)


def place_batch(batch: Mapping[str, np.ndarray], mesh: Mesh, batch_size: int) -> dict[str, Any]:
    """Global arrays on the mesh from this process's rows."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(
            sharding, np.asarray(value), (batch_size, *np.shape(value)[1:])
        )
        for name, value in batch.items()
    }


def state_shardings(state: Any, mesh: Mesh, *, kind: str = "replicated") -> Any:
    """Tree of NamedSharding like `state` (arrays or ShapeDtypeStructs).

    "replicated": every leaf on every device (with model parallelism, the output channels of big
    leaves are split over "model"). "fsdp": besides, the largest remaining dimension that the data
    axis divides is split over "data", so parameters, optimizer state and EMA take 1/n of the
    memory. The rule looks at shapes alone, so a parameter and its moments always lie alike.

    Raises:
        ValueError: if `kind` is unknown.
    """
    if kind not in SHARDINGS:
        raise ValueError(f"train.sharding is {kind!r}; choose one of {SHARDINGS}.")
    return jax.tree.map(lambda leaf: NamedSharding(mesh, _spec(leaf.shape, mesh, kind)), state)


def _spec(shape: tuple[int, ...], mesh: Mesh, kind: str) -> P:
    axes: list[str | None] = [None] * len(shape)
    if np.prod(shape, dtype=np.int64) < FSDP_MIN_SIZE:
        return P()
    model, data = mesh.shape["model"], mesh.shape["data"]
    if model > 1 and shape[-1] % model == 0:
        axes[-1] = "model"
    if kind == "fsdp" and data > 1:
        free = [i for i, size in enumerate(shape) if axes[i] is None and size % data == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "data"
    return P(*axes)


def describe_mesh(mesh: Mesh) -> str:
    """One line for logs: axes, device kind and processes."""
    kind = mesh.devices.flat[0].device_kind
    return (
        f"data={mesh.shape['data']} model={mesh.shape['model']} on {mesh.size} x {kind} "
        f"({mesh.devices.flat[0].platform}), {jax.process_count()} process(es)"
    )
