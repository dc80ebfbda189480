"""What a figure was measured on: kind of processor and accelerator, versions, commit.

Kinds only, never a name of a host or a user: results are published.
"""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def cpu_kind() -> str:
    """The processor's model and the cores that this process may use: "Intel Xeon, 2 cores"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpu_model()}, {cores} core{'' if cores == 1 else 's'}"


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


def commit(root: Path) -> str:
    """The commit of the working tree, with "+changes" if files that git tracks differ from it."""
    found = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{found}+changes" if found and changed else found


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return " ".join(re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|\bProcessor\b|@.*", " ", name).split())
