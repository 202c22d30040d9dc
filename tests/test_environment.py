"""Which machine this is: folders, and as many workers as this process may use cores."""

import os
import subprocess
import sys

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


def test_processes_do_not_run_the_callers_script_again(tmp_path):
    script = tmp_path / "mine.py"  # as one writes it: nothing stands under `if __name__ == "__main__":`
    script.write_text(
        "from hmdb_lib.environment import Processes\nimport os\nprint('once')\n"
        "with Processes(2) as pool:\n    print(len({*pool.map(abs, range(4)), pool.submit(os.getpid).result()}))\n"
    )
    given = os.environ | {"PYTHONPATH": str(environment.ROOT)}
    told = subprocess.run([sys.executable, script], env=given, capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.stderr) == ("once\n5\n", "")
