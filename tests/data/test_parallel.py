"""Work shared among processes."""

import os
import signal

import pytest

from hmdb_lib.data.parallel import parallel_map
from hmdb_lib.errors import UserError


def own_process(number):
    return number, os.getpid()


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    done = list(parallel_map(own_process, range(5), workers, "test"))
    assert [number for number, _ in done] == [0, 1, 2, 3, 4]
    assert all((process == os.getpid()) == (workers == 1) for _, process in done)


def test_no_jobs_need_no_process():
    assert list(parallel_map(own_process, [], None, "test")) == []


def test_a_killed_process_is_one_line():
    with pytest.raises(UserError, match="test: a process was killed"):
        list(parallel_map(die, range(4), 2, "test"))
