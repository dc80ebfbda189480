"""Pages of 2 MB instead of 4 kB for a command's memory, where Linux gives them on request.

XLA's CPU backend asks the system for a training step's memory anew at every step, and the system
clears it page by page: a third of MobileNetV2's step at 224 pixels (docs/performance.md).
"""

import os
import re
import sys
from pathlib import Path

_TUNABLE = "glibc.malloc.hugetlb"
_KERNEL_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_with_huge_pages() -> None:
    """Starts the running command anew, once, with glibc's `glibc.malloc.hugetlb=1`.

    glibc reads it when a process starts and not later. For the first lines of a program: what has
    been done so far is done again. Does nothing where the kernel gives large pages to all or to
    none, where glibc is older than 2.35 or absent, and where GLIBC_TUNABLES says which pages to
    use: `GLIBC_TUNABLES=glibc.malloc.hugetlb=0` keeps small ones.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _TUNABLE in tunables or not (_glibc_asks() and _kernel_waits_to_be_asked()):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_TUNABLE}=1"]))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _glibc_asks() -> bool:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):  # another system, another C library
        return False
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", version)
    return bool(found) and tuple(map(int, found.groups())) >= (2, 35)


def _kernel_waits_to_be_asked() -> bool:
    try:
        return "[madvise]" in _KERNEL_SETTING.read_text()
    except OSError:
        return False
