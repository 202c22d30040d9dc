import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.rar import write_hmdb51, write_rar
from helpers.tiny_hmdb51 import SPLITS, VIDEOS, files_in, mount_small_disk

from data_prep.hmdb51 import unpack as unpacking
from data_prep.hmdb51.unpack import unpack, unpack_videos
from hmdb_lib.errors import UserError
from hmdb_lib.files import DiskError


@pytest.fixture
def small_disk(tmp_path):
    with mount_small_disk(tmp_path / "disk") as disk:
        yield disk


def test_the_test_archives_are_rar_to_unrar_itself(tmp_path):
    rarfile = pytest.importorskip("unrar.cffi.rarfile", reason="no wheel of unrar2-cffi for this platform")
    archive = rarfile.RarFile(write_rar(tmp_path / "a.rar", VIDEOS))
    assert {name: archive.read(name) for name in archive.namelist()} == VIDEOS
    assert archive.testrar() is None


def test_nested_archives_become_class_folders_and_the_inner_archives_go(tmp_path):
    outer, _ = write_hmdb51(tmp_path / "source", VIDEOS, SPLITS)
    unpack_videos(outer, tmp_path / "videos", tmp_path / "scratch", workers=2)
    assert files_in(tmp_path / "videos") == VIDEOS
    assert outer.exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_lists_folder_takes_the_name_of_the_target(tmp_path):
    _, archive = write_hmdb51(tmp_path / "source", VIDEOS, SPLITS)
    unpack(archive, tmp_path / "splits", ".txt")
    assert files_in(tmp_path / "splits") == {name: text.encode() for name, text in SPLITS.items()}


@pytest.mark.parametrize("name", ["../x.avi", "wave/../../x.avi", "/tmp/x.avi", "C:\\x.avi", "C:x.avi", "..\\x.avi"])
def test_an_entry_that_leads_out_of_the_folder_is_refused_by_name(tmp_path, name):
    archive = write_rar(tmp_path / "in" / "wave.rar", {"wave/good.avi": b"1", name: b"2"})
    with pytest.raises(UserError, match="leads out") as told:
        unpack(archive, tmp_path / "in" / "wave", ".avi")
    assert repr(name.replace("\\", "/")) in str(told.value)
    assert list(files_in(tmp_path)) == ["in/wave.rar"]


def test_a_link_is_refused_by_name(tmp_path):
    archive = write_rar(tmp_path / "wave.rar", {"wave/good.avi": b"1"}, links={"wave/evil.avi": "/etc/passwd"})
    with pytest.raises(UserError, match=r"'wave/evil\.avi' is a link"):
        unpack(archive, tmp_path / "wave", ".avi")
    assert list(files_in(tmp_path)) == ["wave.rar"]


@pytest.mark.parametrize("damage", [lambda b: b[:-5000], lambda b: b[:5000] + b"?" + b[5001:], lambda b: b"<html>"])
def test_a_damaged_archive_is_told_and_leaves_nothing(tmp_path, damage):
    archive = write_rar(tmp_path / "golf.rar", {n: c for n, c in VIDEOS.items() if n.startswith("golf")})
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UserError, match=r"golf\.rar"):
        unpack(archive, tmp_path / "golf", ".avi")
    assert list(files_in(tmp_path)) == ["golf.rar"]


def test_a_damaged_class_archive_is_told_and_the_good_classes_stay(tmp_path):
    outer, _ = write_hmdb51(tmp_path / "source", VIDEOS, SPLITS)
    unpack(outer, tmp_path / "scratch" / "classes", ".rar")
    wave = tmp_path / "scratch" / "classes" / "wave.rar"
    wave.write_bytes(wave.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r"wave\.rar"):
        unpack_videos(outer, tmp_path / "videos", tmp_path / "scratch", workers=1)
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["golf"]


def test_a_complete_folder_is_left_alone_and_an_incomplete_one_is_redone(tmp_path):
    archive = write_rar(tmp_path / "wave.rar", {"wave/a.avi": b"1", "wave/b.avi": b"22"})
    unpack(archive, tmp_path / "wave", ".avi")
    (tmp_path / "wave/a.avi").write_bytes(b"9")
    unpack(archive, tmp_path / "wave", ".avi")
    assert (tmp_path / "wave/a.avi").read_bytes() == b"9"
    (tmp_path / "wave/b.avi").unlink()
    unpack(archive, tmp_path / "wave", ".avi")
    assert files_in(tmp_path / "wave") == {"a.avi": b"1", "b.avi": b"22"}


def test_killed_while_unpacking_no_process_is_left_and_the_next_call_finishes(tmp_path):
    videos = {f"class{n}/video{m}.avi": bytes([n, m]) * 500_000 for n in range(30) for m in range(2)}
    outer, _ = write_hmdb51(tmp_path / "source", videos, {})
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from data_prep.hmdb51.unpack import unpack_videos\n"
        "if __name__ == '__main__': unpack_videos(*map(Path, sys.argv[1:]), workers=1)"
    )
    paths = [outer, tmp_path / "videos", tmp_path / "scratch"]
    environment = {**os.environ, "PYTHONPATH": str(Path(unpacking.__file__).parents[1])}
    child = subprocess.Popen([sys.executable, script, *paths], env=environment, stderr=subprocess.DEVNULL)
    while not (tmp_path / "videos/class1").exists():
        assert child.poll() is None
        time.sleep(0.002)
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "videos/class9").exists()  # the last one
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{worker}/exe").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    unpack_videos(*paths, workers=1)
    assert files_in(tmp_path / "videos") == videos


def test_a_disk_that_fills_up_is_told_and_the_next_call_finishes(small_disk, tmp_path):
    archive = write_rar(tmp_path / "wave.rar", {"wave/a.avi": bytes(600_000), "wave/b.avi": bytes(300_000)})
    hog = small_disk / "hog"
    hog.write_bytes(bytes(400_000))
    with pytest.raises(DiskError, match="the disk is full"):
        unpack(archive, small_disk / "wave", ".avi")
    assert list(files_in(small_disk)) == ["hog"]
    hog.unlink()
    unpack(archive, small_disk / "wave", ".avi")
    assert len(files_in(small_disk / "wave")) == 2


def test_too_small_a_disk_is_told_before_anything_is_written(small_disk, tmp_path):
    outer, _ = write_hmdb51(tmp_path, {"wave/a.avi": bytes(1_100_000)}, {})
    with pytest.raises(DiskError, match=r"needs 0\.00143 GB of free disk"):
        unpack_videos(outer, small_disk / "videos", small_disk / "scratch")
    assert files_in(small_disk) == {}


def test_without_any_unpacker_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "RarArchive", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="pip install unrar2-cffi"):
        unpack(write_rar(tmp_path / "wave.rar", {"wave/a.avi": b"1"}), tmp_path / "wave", ".avi")


def test_without_the_library_a_program_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "RarArchive", None)
    golf = {name: content for name, content in VIDEOS.items() if name.startswith("golf/")}
    archive = write_rar(tmp_path / "golf.rar", golf)
    if not any(shutil.which(program) for program in ("unrar", "7zz", "7z", "bsdtar")):
        pytest.skip("no unrar, 7z or bsdtar on this machine")
    unpack(archive, tmp_path / "golf", ".avi")
    assert {f"golf/{name}": content for name, content in files_in(tmp_path / "golf").items()} == golf
