"""What a figure was measured on: kind of processor and accelerator, versions.

Kinds only, never a name of a host or a user: results are published.
"""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from typing import Any

from cvjax.train.writer import cpu_model

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def cpu_kind() -> str:
    """The processor's model and the cores that this process may use: "Intel Xeon, 2 cores"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _cpu_kind(cpu_model(), cores)


def machine_kind(environment: Mapping[str, Any]) -> str:
    """Accelerators and processor by a run's `environment.json`, as far as it names them."""
    cpu = ""
    if environment.get("cpu"):
        cpu = _cpu_kind(str(environment["cpu"]), environment.get("cpu_cores"))
    return ", ".join(filter(None, (accelerator_kind(environment), cpu)))


def accelerator_kind(environment: Mapping[str, Any]) -> str:
    """Number and kind, as in "8 x NVIDIA H100", by a run's `environment.json`; "" for none."""
    devices = environment.get("devices") or []
    if environment.get("backend", "cpu") == "cpu" or not devices:
        return ""
    kind = str(devices[0]).partition(" ")[2] or str(environment["backend"])  # "gpu:0 NVIDIA H100"
    return f"{environment.get('num_devices', len(devices))} x {kind}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a figure."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def _cpu_kind(model: str, cores: int | None) -> str:
    model = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|\bProcessor\b|@.*", " ", model)
    count = f", {cores} core{'' if cores == 1 else 's'}" if cores else ""
    return " ".join(model.split()) + count
