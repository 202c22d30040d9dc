"""Which machine this is: folders, and as many workers as this process may use cores."""

import os

import pytest

from hmdb_lib import environment
from hmdb_lib.environment import cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to a core")
def test_a_process_held_to_one_core_counts_one():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def test_outside_a_checkout_the_folders_lie_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "IN_CHECKOUT", False)
    for name in ("HMDB_DATA", "HMDB_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    place = environment.place()
    assert (place.data, place.results) == (tmp_path / "data", tmp_path / "results")
