"""What the system refuses is one line with the path, whatever the command: no traceback, and nothing half-written."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
from helpers.system import dead_mount, no_permission, read_only

from data_prep.__main__ import main as prepare
from hmdb_lib.cli import main
from hmdb_lib.environment import ROOT
from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training

GONE = "its disk or Drive is no longer connected; mount it again"


@pytest.fixture
def videos(tiny_videos, tmp_path):
    """A copy of the tiny data set, to take away."""
    return shutil.copytree(tiny_videos, tmp_path / "videos")


@pytest.fixture
def asked(tiny_config, videos, tmp_path):
    """The words of `hmdb train` for a run of seconds on `videos`."""
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_config(data__root=videos).to_yaml())
    return ["train", "--config", str(file)]


@pytest.fixture
def told(capsys):
    """A function that runs a command which must be refused, and returns the one line that it told."""

    def run(words, command=main):
        capsys.readouterr()
        assert command(list(map(str, words))) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    return run


def test_training_into_results_on_a_dead_mount_is_one_line(asked, told, tmp_path):
    (tmp_path / "results").mkdir()
    with dead_mount(tmp_path / "results"):
        line = told(asked)
    assert f"{tmp_path / 'results'}" in line
    assert GONE in line


def test_training_on_data_on_a_dead_mount_is_one_line(asked, videos, told):
    with dead_mount(videos):
        line = told(asked)
    assert str(videos) in line
    assert GONE in line


class Die(L.Callback):
    """Let a folder's mount die at the end of the first epoch; it is over when `close` is called."""

    def __init__(self, folder: Path) -> None:
        self.mount = dead_mount(folder)

    def on_train_epoch_end(self, *_: object) -> None:
        if not hasattr(self, "folder"):
            self.folder = self.mount.__enter__()

    def close(self) -> None:
        self.mount.__exit__(None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_data_whose_mount_dies_during_training_end_it_and_are_not_skipped(tiny_config, videos, workers):
    die = Die(videos)
    config = tiny_config(data__root=videos, data__workers=workers, data__on_error="skip")
    try:
        with pytest.raises(UserError, match=GONE) as caught:
            training.train(config, callbacks=[die])
    finally:
        die.close()
    assert "\n" not in str(caught.value)
    assert str(videos) in str(caught.value)
    assert training.train(config).finished  # mounted again, the run goes on


def test_data_that_are_unmounted_during_training_end_it_and_are_not_skipped(tiny_config, videos):
    class Unmount(L.Callback):
        def on_train_epoch_end(self, *_: object) -> None:
            shutil.rmtree(videos)

    with pytest.raises(UserError, match=f"{videos}: is gone or empty now"):
        training.train(tiny_config(data__root=videos, data__on_error="skip"), callbacks=[Unmount()])


@pytest.mark.slow
def test_results_whose_mount_dies_during_training_are_told(tiny_config, tmp_path):
    die = Die(Run.of(config := tiny_config(), tmp_path / "results").folder.parents[2])
    (tmp_path / "results").mkdir()
    try:
        with pytest.raises(UserError, match="the results folder is gone; is the disk or Drive") as caught:
            training.train(config, callbacks=[die])
    finally:
        die.close()
    assert "\n" not in str(caught.value)
    assert training.train(config).finished


def test_predicting_from_a_dead_mount_is_one_line(hybrid_run, videos, told):
    with dead_mount(videos):
        for video in (videos, videos / "dark" / "1.avi"):
            line = told(["predict", video, "--checkpoint", hybrid_run.folder])
            assert str(videos) in line
            assert GONE in line


@pytest.mark.parametrize("command", ["extract", "verify"])
def test_preparing_data_on_a_dead_mount_is_one_line(videos, told, command):
    with dead_mount(videos):
        line = told([command, videos], prepare)
    assert str(videos) in line
    assert GONE in line


def test_extracting_to_a_dead_mount_is_one_line(videos, told, tmp_path):
    (tmp_path / "store").mkdir()
    with dead_mount(tmp_path / "store"):
        assert GONE in told(["extract", videos, "--to", tmp_path / "store"], prepare)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt2"])
def test_exporting_to_a_dead_or_read_only_disk_is_one_line(hybrid_run, told, tmp_path, name):
    (tmp_path / "out").mkdir()
    with dead_mount(tmp_path / "out"):
        assert GONE in told(["export", hybrid_run.folder, "--to", tmp_path / "out" / name])
    with read_only(tmp_path / "out"):
        line = told(["export", hybrid_run.folder, "--to", tmp_path / "out" / name])
    assert str(tmp_path / "out") in line
    assert "is read-only; name a folder that you can write to" in line


def test_read_only_results_are_one_line_before_anything_trains(asked, told, tmp_path):
    (tmp_path / "results").mkdir()
    with read_only(tmp_path / "results"):
        line = told(asked)
    assert "is read-only; name a folder that you can write to" in line
    assert str(tmp_path / "results") in line


def test_a_started_run_on_a_disk_that_is_now_read_only_is_one_line(asked, told, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "read_data", lambda *_: (_ for _ in ()).throw(UserError("stopped here")))
        assert "stopped here" in told(asked)
    with read_only(tmp_path / "results"):
        assert "is read-only" in told(asked)


def test_extracting_beside_read_only_data_is_one_line(videos, told):
    with read_only(videos):
        line = told(["extract", videos], prepare)
    assert f"{videos / 'frames-128x171'}: is read-only; name a folder that you can write to" in line


@pytest.mark.slow
def test_read_only_data_can_be_trained_on(asked, videos):
    with read_only(videos):
        assert main(asked) == 0


@pytest.mark.parametrize("place", ["results", "results/runs", "data"])
def test_a_file_where_a_folder_is_meant_is_one_line(asked, told, tmp_path, monkeypatch, place):
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.touch()
    line = told(asked if place != "data" else ["train", "data=sample", "quick=true"])
    assert str(file) in line
    assert "a file stands where a folder is meant" in line


def test_an_export_to_a_folder_is_one_line(hybrid_run, told, tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    line = told(["export", hybrid_run.folder, "--to", tmp_path / "model.safetensors"])
    assert f"{tmp_path / 'model.safetensors'}: is a folder where a file is meant" in line
    assert list(tmp_path.glob(".*.part")) == []


@pytest.mark.parametrize("folder", [".", "dark"])
def test_data_without_permission_are_one_line(asked, videos, told, folder):
    with no_permission(videos / folder):
        line = told(asked)
    assert str(videos / folder) in line
    assert "you may not use it; change its permissions" in line


def test_results_without_permission_are_one_line(asked, told, tmp_path):
    (tmp_path / "results").mkdir()
    with no_permission(tmp_path / "results"):
        assert f"{tmp_path / 'results'}" in told(asked)


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
def test_names_that_are_not_utf8_are_told_before_anything_trains(asked, videos, told, tmp_path):
    (videos / "dark" / "1.avi").rename(videos / "dark" / os.fsdecode(b"gr\xf6sse.avi"))
    (videos / "index.csv").unlink()
    line = told([*asked, "data.split=1"])
    assert "gr\\xf6sse.avi" in line
    assert "is not UTF-8; rename it" in line


@pytest.mark.slow
def test_names_that_are_not_utf8_are_predicted(hybrid_run, videos, capsysbinary):
    name = os.fsdecode(b"gr\xf6sse.avi")
    (videos / "dark" / "1.avi").rename(videos / name)
    for form in ([], ["--csv"], ["--json"]):
        assert main(["predict", str(videos / name), "--checkpoint", str(hybrid_run.folder), *form]) == 0
        assert b"sse.avi" in capsysbinary.readouterr().out


@pytest.mark.slow
def test_output_to_a_program_that_has_ended_is_no_traceback():
    """As in `hmdb cost baseline | true`."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "hmdb_lib", "cost", "baseline"]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 141
    assert "Error" not in done.stderr


def test_the_longest_name_that_a_disk_allows_is_extracted(videos, capsys):
    longest = "x" * (255 - len(".avi.frames")) + ".avi"
    (videos / "dark" / "1.avi").rename(videos / "dark" / longest)
    assert prepare(["extract", str(videos), "--size", "48", "64", "--workers", "1"]) == 0
    store = videos / "frames-48x64" / "dark"
    assert (store / f"{longest}.frames").is_file()
    assert list(store.glob(".*")) == []


def test_a_name_too_long_for_the_store_is_one_line(videos, told):
    (videos / "dark" / "1.avi").rename(videos / "dark" / ("x" * 251 + ".avi"))
    line = told(["extract", videos, "--size", 48, 64, "--workers", 1], prepare)
    assert "the name is too long for this disk; shorten it" in line


def test_an_error_of_the_kit_itself_keeps_its_traceback(monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOEXEC, "a fault of ours")

    monkeypatch.setattr("hmdb_lib.studies.commands._cost", fail)
    with pytest.raises(OSError, match="a fault of ours"):
        main(["cost"])
