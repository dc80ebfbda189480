"""Commands start anew with large pages, once, and only where that changes anything."""

import subprocess
import sys

import pytest

from cvjax import process_memory

PROGRAM = """
import os, sys
from cvjax import process_memory
if os.environ.get("PRETEND"):
    process_memory._glibc_asks = process_memory._kernel_waits_to_be_asked = lambda: True
print("started", os.getpid(), flush=True)
process_memory.start_with_huge_pages()
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
    monkeypatch.setattr(process_memory, "_KERNEL_SETTING", tmp_path / "enabled")
    assert process_memory._kernel_waits_to_be_asked() == waits


def test_other_kernels_and_libraries_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(process_memory, "_KERNEL_SETTING", tmp_path / "none")
    assert not process_memory._kernel_waits_to_be_asked()
    for version, asks in (("glibc 2.35", True), ("glibc 2.31", False), (None, False)):
        monkeypatch.setattr(process_memory.os, "confstr", lambda _, v=version: v)
        assert process_memory._glibc_asks() == asks


# Results of 36 MB, 9,000 pages of 4 kB.
STEPS = """
import resource, statistics, sys
import jax, jax.numpy as jnp
from cvjax.process_memory import keep_step_memory
if sys.argv[1] == "keep":
    keep_step_memory()
step = jax.jit(lambda x: x + 1)
state = jnp.ones((3000, 3000))
faults = []
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    state = step(state).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(statistics.median(faults)))
"""


def faults_of_a_step(mode, **environment):
    done = subprocess.run(
        [sys.executable, "-c", STEPS, mode],
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(process_memory._glibc_version() is None, reason="needs glibc's mallopt")
def test_most_steps_take_no_new_memory_from_the_system():
    small_pages = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    assert faults_of_a_step("as it is", **small_pages) > 5000
    assert faults_of_a_step("keep", **small_pages) < 100
    chosen = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0:glibc.malloc.trim_threshold=131072"}
    assert faults_of_a_step("keep", **chosen) > 5000
