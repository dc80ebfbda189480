"""Fixtures of the tests that run whole trainings."""

from collections.abc import Iterator

import pytest
import tiny_run
from child_runs import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Where child processes come from."""
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


@pytest.fixture(scope="module", autouse=True)
def _names_as_they_were() -> Iterator[None]:
    """Tests of all models by name, which come later, find those of cvjax alone."""
    yield
    tiny_run.unregister()
