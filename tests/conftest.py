"""Checks that hold for every test: shapes and types of signatures, no silent broadcasting."""

import collections
import gc
import importlib.metadata
import os
import sys
from collections.abc import Iterator

# A test must see the same machine everywhere: CPU, and no memory of compiled programs.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling takes most of the time here. Without LLVM's optimisations the suite takes half as long,
# and with XLA's plain loops in place of its newer emitters three quarters of that. An unknown
# option ends the process, so that one is for releases that have it. What users run is compiled with
# both: by the README's command, and by PYTEST_OPTIMISED=1 pytest.
if not os.environ.get("PYTEST_OPTIMISED"):
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()

import jax
import jaxtyping
import pytest

# Signatures in jaxtyping are checked at run time in tests (and only there).
jaxtyping.install_import_hook(
    ["cvjax.ops", "cvjax.image", "cvjax.losses", "cvjax.metrics"], "beartype.beartype"
)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes millions of objects that live on in JAX's caches. Looking through them for cycles
# took 15% of the suite's time.
gc.set_threshold(100_000, 20, 100)


# Folders whose tests train in processes of their own, hold whole networks or take all of them.
LONG = ("train", "pretrained", "tests")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `sampled(n)` the first n cases are fast, the others slow.

    Files of long tests start first, so that none is left at the end with one worker.
    """
    items.sort(key=lambda item: item.path.parent.name not in LONG)
    seen: collections.Counter[str] = collections.Counter()
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > mark.args[0]:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def _names_as_they_were() -> Iterator[None]:
    """What tests/train/tiny_run.py adds to the models is not there for the files that follow."""
    yield
    if "tiny_run" in sys.modules:
        sys.modules["tiny_run"].unregister()
