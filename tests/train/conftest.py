"""Fixtures of the tests that run whole trainings."""

import pytest
from child_runs import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Where child processes come from."""
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()
