"""A run on the local disk, mirrored to a stand-in for Google Drive that counts, keeps a bin, and dies or hangs at will."""

import errno
import shutil
import threading
import time
from pathlib import Path

import pytest
from helpers.cut_off import assert_same

from hmdb_lib.environment import DRIVE, Place
from hmdb_lib.files import whole_file
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training, mirror as mirrors
from hmdb_lib.training.mirror import Disk, Mirror

MEGABYTE = 1_000_000


class Drive(Disk):
    """Counts bytes and operations; what is replaced or removed goes to its bin; `dies_after` operations it is gone."""

    def __init__(self):
        self.bytes = self.operations = self.bin = 0
        self.dies_after = None
        self.answers = threading.Event()
        self.answers.set()

    def count(self):
        self.answers.wait()
        if self.operations == self.dies_after:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.operations += 1

    def write(self, source, target):
        self.count()
        self.bytes += source.stat().st_size
        super().write(source, target)

    def remove(self, file):
        self.count()
        super().remove(file)


@pytest.fixture
def drive(tmp_path, monkeypatch):
    drive, replace, unlink = Drive(), Path.replace, Path.unlink

    def into_the_bin(file):
        if file.is_relative_to(tmp_path / "drive") and file.exists():
            drive.bin += file.stat().st_size

    monkeypatch.setattr(Path, "replace", lambda self, to: (into_the_bin(Path(to)), replace(self, to))[1])
    monkeypatch.setattr(Path, "unlink", lambda self, **how: (into_the_bin(self), unlink(self, **how))[1])
    return drive


@pytest.fixture
def mirror(tmp_path, drive):
    """A run with one epoch in its local folder."""
    mirror = Mirror(tmp_path / "local/runs/row/run", tmp_path / "drive/runs/row/run", drive)
    Run(mirror.local).checkpoints.mkdir(parents=True)
    write_epoch(mirror, 0)
    return mirror


def write_epoch(mirror, epoch):
    run = Run(mirror.local)
    run.write_epoch({"epoch": epoch})
    with whole_file(run.last) as part:
        part.write_bytes(bytes([epoch]) * MEGABYTE)
    run.previous.write_bytes(bytes(MEGABYTE))


def update(mirror):
    mirror.start()
    return mirror.wait()


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "previous.ckpt"
    }


def test_thirty_epochs_are_mirrored_every_ten_minutes_and_leave_next_to_nothing_in_the_bin(mirror, drive, monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr(mirrors.time, "monotonic", lambda: clock[0])
    for epoch in range(30):
        write_epoch(mirror, epoch)
        clock[0] += 150
        mirror.on_train_epoch_start(None, None)
        mirror.wait()
    assert mirror.close().folder == mirror.place
    assert 8 * MEGABYTE <= drive.bytes < 9 * MEGABYTE  # of the 30 that were written
    assert drive.operations <= 2 * 9
    assert drive.bin == 0
    assert contents(mirror.place) == contents(mirror.local)


def test_what_is_removed_here_is_removed_there_and_emptied_first(mirror, drive):
    update(mirror)
    Run(mirror.local).last.unlink()
    update(mirror)
    assert not Run(mirror.place).last.exists()
    assert drive.bin == 0


@pytest.mark.parametrize("operations", [0, 1])
def test_a_mirror_that_dies_is_told_once_and_ends_nothing(mirror, drive, operations, capsys):
    drive.dies_after = operations
    for epoch in (1, 2):
        write_epoch(mirror, epoch)
        assert not update(mirror)
    assert mirror.close().folder == mirror.local
    told = capsys.readouterr().out
    assert told.count("training goes on in") == 1
    assert f"; copy {mirror.local} before this machine ends" in told
    assert "not mirrored: " in told
    assert "metrics.csv" in told.splitlines()[-1]


def test_a_mirror_that_hangs_stops_neither_an_epoch_nor_the_end(mirror, drive, monkeypatch, capsys):
    monkeypatch.setattr(mirrors, "EVERY", 0)
    monkeypatch.setattr(mirrors, "WAIT", 0.3)
    drive.answers.clear()
    begin = time.monotonic()
    for epoch in (1, 2, 3):
        write_epoch(mirror, epoch)
        mirror.on_train_epoch_start(None, None)
    assert time.monotonic() - begin < 0.3
    assert mirror.close().folder == mirror.local
    assert time.monotonic() - begin < 3
    drive.answers.set()
    mirror.thread.join()
    told = capsys.readouterr().out
    assert told.count("training goes on in") == 1
    assert "not mirrored: " in told.splitlines()[-1]
    assert Run(mirror.local).last.read_bytes() == bytes([3]) * MEGABYTE


def test_what_changes_while_a_slow_mirror_copies_is_of_one_epoch_there(mirror, drive):
    drive.answers.clear()
    write_epoch(mirror, 1)
    mirror.start()
    write_epoch(mirror, 2)
    drive.answers.set()
    assert mirror.wait()
    there = Run(mirror.place)
    assert (there.last.read_bytes()[0], len(there.metrics)) == (1, 2)
    assert mirror.close().last.read_bytes()[0] == 2
    assert [file.name for file in mirror.local.parents[2].iterdir()] == ["runs"]


def test_a_mirror_that_comes_back_gets_what_it_missed(mirror, drive):
    drive.dies_after = 0
    update(mirror)
    write_epoch(mirror, 1)
    drive.dies_after = None
    assert mirror.close().folder == mirror.place
    assert contents(mirror.place) == contents(mirror.local)


def test_nothing_is_written_under_a_mount_that_is_gone(mirror, tmp_path):
    shutil.rmtree(tmp_path / "drive")
    assert not update(mirror)
    assert not (tmp_path / "drive").exists()


def test_a_machine_that_ended_between_emptying_and_renaming_leaves_the_new_checkpoint(mirror, tmp_path):
    update(mirror)
    write_epoch(mirror, 1)
    part = Run(mirror.place).checkpoints / ".last.ckpt.123456789012.part"
    shutil.copy(Run(mirror.local).last, part)
    Run(mirror.place).last.write_bytes(b"")
    other = Mirror(tmp_path / "other/runs/row/run", mirror.place)
    other.fetch()
    assert Run(other.local).last.read_bytes() == bytes([1]) * MEGABYTE


def test_another_session_begins_with_what_the_mirror_has_and_never_with_less_than_it_has_itself(mirror, tmp_path):
    update(mirror)
    fresh = Mirror(tmp_path / "fresh/runs/row/run", mirror.place)
    fresh.fetch()
    assert contents(fresh.local) == contents(mirror.local)
    write_epoch(fresh, 1)
    fresh.fetch()
    assert len(Run(fresh.local).metrics) == 2


@pytest.mark.slow
def test_a_run_over_two_machines_ends_as_one_that_nothing_interrupts(tiny_config, tmp_path, monkeypatch):
    small = {"model__width": 0.25, "train__epochs": 2}
    whole = training.train(tiny_config(name="whole", **small))
    for machine, until in (("first", time.time()), ("second", float("inf"))):
        monkeypatch.setenv("HMDB_LOCAL", str(tmp_path / machine))
        run = training.train(tiny_config(name="moved", **small), until=until)
        assert run.folder.is_relative_to(tmp_path / "results")
        shutil.rmtree(tmp_path / machine)
    assert_same(whole, run)
    assert run.best.exists()


@pytest.mark.parametrize(("keep", "left"), [("all", {"best", "last"}), ("best", {"best"}), ("none", set())])
def test_a_finished_run_keeps_the_checkpoints_that_are_asked_for(tiny_config, tmp_path, keep, left):
    run = Run.start(tiny_config(train__keep=keep), tmp_path)
    for file in (run.last, run.previous, run.best):
        file.write_bytes(b"weights")
    run.finish(None, {"row": "baseline"})
    assert {file.stem for file in run.checkpoints.iterdir()} == left


def test_only_results_on_drive_are_mirrored_unless_one_asks(monkeypatch):
    monkeypatch.delenv("HMDB_LOCAL", raising=False)
    assert Place("colab", Path("data"), DRIVE / "hmdb_results").local == Path("/content/runs")
    assert Place("local", Path("data"), Path("results")).local is None
    monkeypatch.setenv("HMDB_LOCAL", "/scratch")
    assert Place("local", Path("data"), Path("results")).local == Path("/scratch")
