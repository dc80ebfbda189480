"""How a command's process gets memory and keeps it, for XLA's CPU backend.

XLA asks for a training step's memory anew at every step. In pages of 4 kB, handed back to the
system when the step is done, clearing them took a third of MobileNetV2's step at 224 pixels
(docs/performance.md).
"""

import ctypes
import os
import re
import sys
from pathlib import Path

_HUGE_PAGES = "glibc.malloc.hugetlb"
_KEEPING = ("glibc.malloc.mmap_", "glibc.malloc.trim_threshold")
_KERNEL_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def start_with_huge_pages() -> None:
    """Starts the running command anew, once, with glibc's `glibc.malloc.hugetlb=1`.

    That is pages of 2 MB. glibc reads it when a process starts and not later. For the first lines
    of a program: what has been done so far is done again. Does nothing where the kernel gives large
    pages to all or to none, where glibc is older than 2.35 or absent, and where GLIBC_TUNABLES says
    which pages to use: `GLIBC_TUNABLES=glibc.malloc.hugetlb=0` keeps small ones.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _HUGE_PAGES in tunables or not (_glibc_asks() and _kernel_waits_to_be_asked()):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_HUGE_PAGES}=1"]))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_step_memory() -> None:
    """On a CPU, what one training step has used serves the next, instead of going to the system.

    To be called before JAX first looks for devices. glibc keeps large memory only when told to,
    and only that of the main thread; so a step runs in the thread that asks for it
    (`jax_cpu_enable_async_dispatch` off), while other threads go on reading batches. Does nothing
    on accelerators, with another C library, and where GLIBC_TUNABLES says what is handed back:
    `GLIBC_TUNABLES=glibc.malloc.trim_threshold=131072`, glibc's default.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _glibc_version() is None or any(name in tunables for name in _KEEPING):
        return
    import jax  # here: to start anew need not wait for it

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        on_cpu = jax.default_backend() == "cpu"
    except RuntimeError:  # no such platform: told where a command first needs its devices
        return
    if on_cpu:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def _glibc_version() -> tuple[int, int] | None:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):  # another system, another C library
        return None
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", version)
    return (int(found[1]), int(found[2])) if found else None


def _glibc_asks() -> bool:
    return (_glibc_version() or (0, 0)) >= (2, 35)


def _kernel_waits_to_be_asked() -> bool:
    try:
        return "[madvise]" in _KERNEL_SETTING.read_text()
    except OSError:
        return False
