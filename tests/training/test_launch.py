"""Runs as processes: two at once, each with a GPU of its own."""

import pytest
import torch

from hmdb_lib.errors import UserError
from hmdb_lib.training import launch
from hmdb_lib.training.launch import Command, side_by_side

RUN = """
import os, sys, time
print(os.environ["CUDA_VISIBLE_DEVICES"], time.time(), flush=True)
time.sleep(0.5)
print(time.time(), flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Four runs of half a second; the third one fails."""
    monkeypatch.setattr(launch, "TRAIN", ["-c", RUN])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return [Command([code], tmp_path / f"{number}.txt") for number, code in enumerate("0030")]


def told(command):
    gpu, start, end = command.log.read_text().split()
    return gpu, float(start), float(end)


@pytest.mark.slow
def test_two_runs_overlap_each_with_its_own_gpu_and_the_next_takes_the_one_that_is_free(commands):
    ends = dict(side_by_side(commands, lambda number: True, print, 2))
    assert ends == {0: 0, 1: 0, 2: 3, 3: 0}
    (gpu, _, end), (other, other_start, _), *_ = runs = [told(command) for command in commands]
    assert {gpu, other} == {"0", "1"}
    assert other_start < end
    for of_gpu in ("0", "1"):
        first, second = sorted(run[1:] for run in runs if run[0] == of_gpu)
        assert first[1] <= second[0], "two runs on one GPU"


def test_the_gpus_that_this_process_may_use_are_shared_out(commands, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    list(side_by_side(commands[:2], lambda number: True, print, 2))
    assert {told(command)[0] for command in commands[:2]} == {"5", "7"}


def test_what_there_is_no_time_for_is_not_started(commands):
    assert dict(side_by_side(commands, lambda number: number in (1, 3), print, 2)) == {1: 0, 3: 0}
    assert not commands[0].log.exists()


def test_fewer_gpus_than_runs_at_once_are_told(commands, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="--at-once 2: each run takes a GPU of its own, and there is 1"):
        next(side_by_side(commands, lambda number: True, print, 2))
