"""Commands start anew with large pages, once, and only where that changes anything."""

import subprocess
import sys

import pytest

from cvjax import huge_pages

PROGRAM = """
import os, sys
from cvjax import huge_pages
if os.environ.get("PRETEND"):
    huge_pages._glibc_asks = huge_pages._kernel_waits_to_be_asked = lambda: True
print("started", os.getpid(), flush=True)
huge_pages.start_with_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], __name__)
sys.exit(7)
"""


def run(tmp_path, *arguments, **environment):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-X", "utf8", str(program), *arguments],
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr  # the second start's exit status is the command's
    return done.stdout.splitlines()


def test_a_command_starts_anew_once_with_its_arguments(tmp_path):
    first, second, last = run(tmp_path, "--a=b c", "d", PRETEND="1")
    assert first == second  # the same process: who waits for it or kills it need not know
    assert last == "glibc.malloc.hugetlb=1 ['--a=b c', 'd'] __main__"


def test_other_tunables_stay(tmp_path):
    *starts, last = run(tmp_path, PRETEND="1", GLIBC_TUNABLES="glibc.malloc.arena_max=1")
    assert len(starts) == 2
    assert last.startswith("glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1 ")


def test_who_has_chosen_pages_keeps_them(tmp_path):
    *starts, last = run(tmp_path, PRETEND="1", GLIBC_TUNABLES="glibc.malloc.hugetlb=0")
    assert len(starts) == 1
    assert last.startswith("glibc.malloc.hugetlb=0 ")


@pytest.mark.parametrize(
    ("said", "waits"), [("always [madvise] never", True), ("[always] madvise never", False)]
)
def test_asks_a_kernel_that_gives_large_pages_on_request(monkeypatch, tmp_path, said, waits):
    (tmp_path / "enabled").write_text(said)
    monkeypatch.setattr(huge_pages, "_KERNEL_SETTING", tmp_path / "enabled")
    assert huge_pages._kernel_waits_to_be_asked() == waits


def test_other_kernels_and_libraries_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(huge_pages, "_KERNEL_SETTING", tmp_path / "none")
    assert not huge_pages._kernel_waits_to_be_asked()
    for version, asks in (("glibc 2.35", True), ("glibc 2.31", False), (None, False)):
        monkeypatch.setattr(huge_pages.os, "confstr", lambda _, v=version: v)
        assert huge_pages._glibc_asks() == asks
