"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips; it is never part of the repository."""
    folder = os.environ.get("HMDB_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HMDB_REAL_DATA does not name a folder of real clips")
    return Path(folder)
