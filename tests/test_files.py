"""Writing files whole, the checks of free disk, and what the system refuses."""

import errno
import os
import shutil

import pytest

from hmdb_lib.errors import UserError
from hmdb_lib.files import (
    DiskError,
    is_disk_full,
    parts_of,
    remove_dead_parts,
    report_refusals,
    require_disk,
    whole_file,
)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    file = tmp_path / "new" / "folder" / "table.csv"
    with whole_file(file) as part:
        part.write_text("half")
        assert not file.exists()
        assert part.parent == file.parent
        part.write_text("whole")
    assert file.read_text() == "whole"
    assert names(file.parent) == ["table.csv"]


def test_an_error_leaves_the_old_file_and_no_part(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(RuntimeError), whole_file(file) as part:
        raise RuntimeError(part.write_text("half"))
    assert file.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_an_error_before_anything_is_written_is_the_one_that_is_raised(tmp_path):
    with pytest.raises(RuntimeError, match="first"), whole_file(tmp_path / "table.csv"):
        raise RuntimeError("first")


def test_a_part_is_hidden_and_no_glob_for_the_file_finds_it(tmp_path):
    with whole_file(tmp_path / "shard.tar") as part:
        part.touch()
        assert part.name.startswith(".")
        assert list(tmp_path.glob("*.tar")) == []
        assert list(tmp_path.glob("*.part")) == [part]


def test_a_writer_that_goes_by_the_suffix_gets_it(tmp_path):
    with whole_file(tmp_path / "clip.mp4", keep_suffix=True) as part:
        part.touch()
        assert part.suffix == ".mp4"
        assert ".part" in part.name


def test_two_writers_of_one_file_do_not_share_a_part(tmp_path):
    with whole_file(tmp_path / "a") as one, whole_file(tmp_path / "a") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert names(tmp_path) == ["a"]


def test_too_little_free_disk_is_one_line_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 2e9))
    require_disk(tmp_path, 2e9, "the store")
    with pytest.raises(DiskError, match=r"the store needs 3 GB of free disk, 2 GB are free; free some of it"):
        require_disk(tmp_path, 3e9, "the store")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_reported_with_the_folder(tmp_path, number):
    with pytest.raises(DiskError, match=rf"{tmp_path}: the disk is full"), report_refusals(tmp_path):
        raise OSError(number, "no space left")
    assert is_disk_full(OSError(number, "no space left"))
    assert not is_disk_full(ValueError())


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOTCONN, "its disk or Drive is no longer connected; mount it again"),
        (errno.ESTALE, "its disk or Drive is no longer connected; mount it again"),
        (errno.EIO, "the disk, or the network behind it, fails"),
        (errno.EROFS, "is read-only; name a folder that you can write to"),
        (errno.EACCES, "you may not use it; change its permissions"),
        (errno.ENAMETOOLONG, "the name is too long for this disk; shorten it"),
        (errno.ENOENT, "no such file or folder"),
        (errno.EMFILE, "too many files are open"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_path_and_what_to_do(number, told):
    with pytest.raises(UserError, match=rf"^/there/file: {told}.* \({os.strerror(number)}\)$"), report_refusals():
        raise OSError(number, "in other words", "/there/file")


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    with pytest.raises(UserError, match=r"^b'gr.*: holds a name that is not UTF-8"), report_refusals():
        (tmp_path / "table.csv").write_text(os.fsdecode(b"gr\xf6sse"), encoding="utf-8")


def test_an_error_without_a_reason_that_a_user_can_mend_passes_through():
    for error in (OSError("no number"), OSError(errno.ENOEXEC, "a fault of ours"), ValueError("ours")):
        with pytest.raises(type(error)) as caught, report_refusals():
            raise error
        assert caught.value is error


def test_an_error_of_a_process_that_reads_for_a_loader_stays_one_line():
    message = "Caught DiskError in DataLoader worker process 0.\nOriginal Traceback:\n  a line\nhmdb_lib.files.DiskError: /x: full"
    assert str(DiskError(message)) == "/x: full"


def test_a_refused_write_names_the_file_and_not_its_part(tmp_path):
    with pytest.raises(OSError, match="no space") as caught, whole_file(tmp_path / "table.csv") as part:
        raise OSError(part.write_text("half") and errno.ENOSPC, "no space left")
    assert caught.value.filename == str(tmp_path / "table.csv")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 255, "ö" * 127])
def test_the_longest_names_are_written_whole(tmp_path, name):
    with whole_file(tmp_path / name) as part:
        part.write_text("whole")
        assert parts_of(tmp_path / name) == [part]
    assert names(tmp_path) == [name]


def test_a_long_name_is_cut_between_characters(tmp_path):
    with whole_file(tmp_path / ("x" + "ö" * 127)) as part:
        part.touch()
        assert part.name.encode().startswith(b".x" + "ö".encode() * 74 + b".")


def test_parts_of_killed_processes_are_removed_and_those_still_written_stay(tmp_path):
    with whole_file(tmp_path / "last.ckpt") as dead, whole_file(tmp_path / "last.ckpt") as alive:
        dead.touch()
        os.utime(dead, (0, 0))
        alive.touch()
        remove_dead_parts(tmp_path)
        assert list(tmp_path.iterdir()) == [alive]
        dead.touch()  # for the end of the block
