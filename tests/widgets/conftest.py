"""What tests of views share: a kernel with a browser, and data to show."""

import pytest

from hmdb_lib import environment
from hmdb_lib.training.experiment import read_data
from hmdb_lib.widgets import views


@pytest.fixture
def notebook(monkeypatch):
    """As in a kernel with a browser before it."""
    monkeypatch.setattr(views, "live", lambda: True)


@pytest.fixture
def data(tiny_config):
    return read_data(tiny_config(), environment.place())
