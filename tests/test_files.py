"""Writing files whole, and the checks of free disk."""

import errno
import shutil

import pytest

from hmdb_lib.files import DiskError, is_disk_full, report_full_disk, require_disk, whole_file


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
    with pytest.raises(DiskError, match=rf"{tmp_path}: the disk is full"), report_full_disk(tmp_path):
        raise OSError(number, "no space left")


def test_other_errors_of_the_system_pass_through(tmp_path):
    with pytest.raises(PermissionError), report_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "denied")
    assert not is_disk_full(ValueError())
