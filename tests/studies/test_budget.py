"""A study on a budget of time: forecast, stopped in time, gone on with, and the same in the end."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.cut_off import assert_same

from data_prep.pack import pack
from hmdb_lib import cli, environment
from hmdb_lib.results.intervals import resolution
from hmdb_lib.results.runs import Run
from hmdb_lib.studies import study
from hmdb_lib.training import experiment as training, launch
from hmdb_lib.training.callbacks import Deadline
from hmdb_lib.training.launch import TIME_IS_UP

from .test_study import pretend, tiny


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    return environment.place()


def test_one_split_and_three_of_hmdb51_tell_apart_what_independent_videos_would():
    one, three = np.ones(1530), np.ones(3 * 1530)
    assert [round(100 * resolution(one, share, 0.0), 1) for share in (0.2, 0.4)] == [2.2, 3.2]
    assert [round(100 * resolution(three, share, 0.0), 1) for share in (0.2, 0.4)] == [1.3, 1.8]


def test_the_resolution_is_the_share_of_differences_found_half_of_the_time():
    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, 200)
    groups = np.repeat(np.arange(200), sizes)
    truth, found = resolution(sizes, 0.3, 0.1), []
    for _ in range(400):
        shared, own = random.normal(size=200)[groups], random.normal(size=len(groups))
        differences = truth + 0.3**0.5 * (0.1**0.5 * shared + 0.9**0.5 * own)
        sums = np.bincount(groups, differences - differences.mean())
        error = np.sqrt((sums**2).sum()) / len(groups)
        found.append(differences.mean() > 1.97 * error)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_all_rows_come_before_the_next_split_and_all_splits_before_the_next_seed(place, tiny_videos):
    jobs = study.plan(["baseline", "bert"], [1, 2], [0, 1], tiny(tiny_videos), place)
    assert [str(job) for job in jobs[:5]] == [
        *("baseline split 1 seed 0", "bert split 1 seed 0", "baseline split 2 seed 0", "bert split 2 seed 0"),
        "baseline split 1 seed 1",
    ]


def test_a_forecast_says_what_it_costs_what_it_shows_and_runs_nothing(place, tiny_videos, capsys, monkeypatch):
    monkeypatch.setattr(launch, "TRAIN", ["there is nothing to start"])
    changes = tiny(tiny_videos)
    pretend(study.plan(["baseline"], [1], [0], changes, place)[0], 6, seconds=1800.0)
    assert cli.main(["study", "baseline", "--seeds", "0", "1", "2", "3", "--forecast", "--hours", "1", *changes]) == 0
    told = capsys.readouterr().out
    assert "4 runs, 1 of them finished" in told
    assert "after 1:00:00, session 1: split 1 seed 2 of all rows" in told
    assert "after 1:30:00, session 2: split 1 seed 3 of all rows; tells rows apart that differ by" in told
    assert not (place.results / "tables").exists()


def test_a_forecast_counts_runs_that_go_at_once(place, tiny_videos, capsys):
    changes = tiny(tiny_videos)
    pretend(study.plan(["baseline"], [1], [0], changes, place)[0], 6, seconds=1800.0)
    assert cli.main(["study", "baseline", "--seeds", "0", "1", "2", "--forecast", "--at-once", "2", *changes]) == 0
    assert "after 0:30:00: split 1 seed 2 of all rows" in capsys.readouterr().out


def test_tokens_of_a_frozen_backbone_are_counted_once(place, tiny_videos, monkeypatch):
    monkeypatch.setattr(study, "_measure", lambda *of: study.Seconds(10.0, 100.0))
    changes = [*tiny(tiny_videos), "model.frozen=all"]
    jobs = study.plan(["baseline", "cross1_self1"], [1], [0, 1], changes, place)
    assert study.expect(jobs, jobs, place) == [110.0, 10.0, 10.0, 10.0]


@pytest.mark.slow
def test_a_run_stopped_for_the_time_goes_on_and_ends_with_the_same_digits(tiny_config, capsys):
    small = {"model__width": 0.25, "train__epochs": 3}
    whole = training.train(tiny_config(name="whole", **small))
    cut = training.train(tiny_config(name="cut", **small), until=time.time())
    assert (len(cut.metrics), cut.finished) == (1, False)
    assert "the time is up after epoch 1 of 3; the same command goes on" in capsys.readouterr().out
    assert_same(whole, training.train(tiny_config(name="cut", **small)))


@pytest.mark.slow
def test_a_test_that_does_not_fit_is_left_to_the_next_session(tiny_config, monkeypatch):
    config = tiny_config(model__width=0.25, train__epochs=1)
    monkeypatch.setattr(Deadline, "on_validation_end", lambda self, *of: setattr(self, "judging", 1000.0))
    run = training.train(config, until=time.time() + 500)
    assert (len(run.metrics), run.finished) == (1, False)
    assert training.train(config).finished


@pytest.mark.slow
def test_the_command_says_by_its_exit_code_that_the_time_was_up(tiny_videos, place):
    words = [*tiny(tiny_videos, **{"train.epochs": 2}), "model.width=0.25"]
    assert cli.main(["train", "baseline", *words, "--until", "0"]) == TIME_IS_UP


def test_a_study_starts_only_what_fits_and_says_what_is_left(place, tiny_videos, capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def train(command, watch):
        assert command.arguments[-2:] == ["--until", "4600.0"]
        clock[0] += 1800
        jobs = study.plan(["baseline"], [1], [0, 1, 2, 3, 4], tiny(tiny_videos), place)
        pretend(next(job for job in jobs if f"seed={job.config.seed}" in command.arguments), 6, seconds=1800.0)
        return 0

    monkeypatch.setattr(launch, "train", train)
    monkeypatch.setattr(study, "expect", lambda jobs, missing, place, tell: [1800.0] * len(missing))
    table = study.run_study("baseline", seeds=[0, 1, 2, 3, 4], changes=tiny(tiny_videos), hours=1)
    assert table.frame.runs.iloc[0] == 2
    assert "the time is up: 2 of 5 done, 2 sessions like this one left" in capsys.readouterr().out


# A session of Colab: what was packed is brought to an empty disk, runs are mirrored after every epoch. At the start of
# one epoch Drive may be away, and at the start of one the machine may end.
SESSION = """
import os, signal, sys
from pathlib import Path
from hmdb_lib import cli
from hmdb_lib.studies import study
from hmdb_lib.training import launch, mirror
away, end, drive = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
start = mirror.Mirror.on_train_epoch_start
def on_train_epoch_start(self, trainer, module):
    gone = drive.with_name("gone")
    if trainer.current_epoch == away:
        drive.rename(gone)
    start(self, trainer, module)
    self.wait()
    if gone.exists():
        gone.rename(drive)
    if trainer.current_epoch == end:
        os.kill(os.getpid(), signal.SIGKILL)
mirror.EVERY, mirror.Mirror.on_train_epoch_start = 0, on_train_epoch_start
launch.train = lambda command, watch: cli.main(["train", *command.arguments])  # each process would load torch again
study.expect = lambda jobs, missing, place, tell: [float("nan")] * len(missing)  # an unknown time always fits
sys.exit(cli.main(["unpack"]) or cli.main(["study", *sys.argv[4:]]))
"""


@pytest.mark.slow
def test_three_sessions_on_disks_that_are_lost_end_with_the_table_of_one_that_nothing_interrupts(tiny_videos, tmp_path):
    """The first is killed, the second has used up its hours, and in the third Drive is unmounted for a while."""
    rows, machine = ["baseline", "baseline_dropout"], tmp_path / "machine"
    small = {"train.epochs": 3, "model.width": 0.25}
    told, epochs = [], []

    def session(drive, away=-1, end=-1, more=()):
        places = {"HMDB_RESULTS": drive / "results", "HMDB_DATA": machine / tiny_videos.name, "HMDB_LOCAL": machine}
        words = [str(away), str(end), drive, *rows, *more, *tiny(places["HMDB_DATA"], **small)]
        environment = {name: str(place) for name, place in places.items()} | {"OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            [sys.executable, "-c", SESSION, *words], env=os.environ | environment, capture_output=True, text=True
        )
        told.append(ended.stdout + ended.stderr)
        runs = [Run(drive / "results/runs" / row / f"{tiny_videos.name}-split1-seed0") for row in rows]
        epochs.append((ended.returncode, *(len(run.metrics) for run in runs)))
        shutil.rmtree(machine)
        return runs, {file.name: file.read_text() for file in drive.glob("results/tables/*")}

    for drive in ("whole", "cut"):
        pack(tiny_videos, tmp_path / drive / "hmdb_packed")
    whole, tables = session(tmp_path / "whole")
    session(tmp_path / "cut", end=1)
    session(tmp_path / "cut", more=["--hours", "0.0001"])
    cut, tables_of_cut = session(tmp_path / "cut", away=2)
    assert epochs == [(0, 3, 3), (-signal.SIGKILL, 1, 0), (0, 2, 1), (0, 3, 3)], told
    assert "the time is up: 0 of 2 done" in told[2]
    assert told[3].count("training goes on in") == 2  # once a run
    for run, other in zip(whole, cut, strict=True):
        assert_same(run, other)
    assert len(tables) == 3
    assert tables == tables_of_cut
